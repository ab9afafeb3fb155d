"""The driver by ctypes, for programs that need what PyTorch does not offer: a context, a kernel that touches words, names of errors."""
import ctypes
import time

cuda = ctypes.CDLL('libcuda.so.1')
PTX = rb'''.version 6.4
.target sm_70
.address_size 64
.visible .entry berth_add(.param .u64 at, .param .u64 words, .param .u32 argument)
{
.reg .pred %p;
.reg .b32 %r<6>;
.reg .b64 %d<7>;
ld.param.u64 %d0, [at];
cvta.to.global.u64 %d0, %d0;
ld.param.u64 %d1, [words];
ld.param.u32 %r5, [argument];
mov.u32 %r0, %ctaid.x;
mov.u32 %r1, %ntid.x;
mov.u32 %r2, %tid.x;
mov.u32 %r3, %nctaid.x;
mul.wide.u32 %d2, %r0, %r1;
cvt.u64.u32 %d3, %r2;
add.u64 %d2, %d2, %d3;
mul.wide.u32 %d4, %r3, %r1;
LOOP:
setp.ge.u64 %p, %d2, %d1;
@%p bra DONE;
shl.b64 %d5, %d2, 2;
add.u64 %d5, %d0, %d5;
ld.global.u32 %r4, [%d5];
add.u32 %r4, %r4, %r5;
st.global.u32 [%d5], %r4;
add.u64 %d2, %d2, %d4;
bra LOOP;
DONE:
ret;
}
'''


class DriverError(Exception):
    pass


def call(name, *arguments):
    """A driver function; an error is an exception with its name."""
    code = getattr(cuda, name)(*arguments)
    if code:
        text = ctypes.c_char_p()
        cuda.cuGetErrorName(code, ctypes.byref(text))
        raise DriverError(f'{name}: {(text.value or b"?").decode()} ({code})')


def begin():
    """The first device, its primary context current."""
    device, context = ctypes.c_int(), ctypes.c_void_p()
    call('cuInit', 0)
    call('cuDeviceGet', ctypes.byref(device), 0)
    call('cuDevicePrimaryCtxRetain', ctypes.byref(context), device)
    call('cuCtxSetCurrent', context)
    return device


def synchronize():
    call('cuCtxSynchronize')


def adder():
    """A function add(at, words) that adds one to each word and waits."""
    function = kernel()

    def add(at, words):
        launch('cuLaunchKernel', function, at, words)
        synchronize()
    return add


def kernel():
    """The kernel that adds a number to each word. Its name and parameters are those of tests/programs, which the software device knows, too."""
    module, function = ctypes.c_void_p(), ctypes.c_void_p()
    call('cuModuleLoadData', ctypes.byref(module), PTX)
    call('cuModuleGetFunction', ctypes.byref(function), module, b'berth_add')
    return function


def launch(by, function, at, words, number=1):
    """On the null stream; by: cuLaunchKernel or a form of it."""
    a, w, n = ctypes.c_uint64(at), ctypes.c_uint64(words), ctypes.c_uint(number)
    pointers = (ctypes.c_void_p * 3)(*(ctypes.addressof(x) for x in (a, w, n)))
    call(by, function, 2048, 1, 1, 256, 1, 1, 0, None, pointers, None)


def timed(function, *arguments):
    start = time.monotonic()
    function(*arguments)
    return time.monotonic() - start
