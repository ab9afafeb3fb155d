"""torch.multiprocessing: a CUDA tensor handed to another process (legacy IPC), changed there, read here, before and after."""
import _kind
import torch
import torch.multiprocessing as mp


def child(tensors, answers):
    t = tensors.get(timeout=60)
    while True:
        word = tensors.get(timeout=300)
        if word is None:
            break
        t.add_(word)
        torch.cuda.synchronize()
        answers.put(float(t.double().sum()))
    del t
    answers.put('gone')


if __name__ == '__main__':
    torch.manual_seed(15)
    context = mp.get_context('spawn')
    tensors, answers = context.Queue(), context.Queue()
    p = context.Process(target=child, args=(tensors, answers), daemon=True)
    p.start()
    b = _kind.ballast(1)
    t = torch.ones(16 << 20, device='cuda')
    tensors.put(t)
    for word in (1, 2):
        tensors.put(word)
        _kind.take(f'seen there {word}', answers.get(timeout=45))
        torch.cuda.synchronize()
        _kind.take(f'seen here {word}', float(t.double().sum()))
        if word == 1:
            _kind.middle()
    tensors.put(None)
    answers.get(timeout=45)
    p.join(30)
    _kind.weigh('ballast', b)
    _kind.done()
