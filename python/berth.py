"""For Python programs that want to work along with Berth. Nothing has to: every program runs under it as it is.

    import berth, torch
    berth.on_trim(torch.cuda.empty_cache)      # when somebody asks for memory back, free what is only cached
    with berth.peak("warm-up") as window:      # the exact peak of device memory, spikes included
        ...
    print(window.bytes)
    for step, batch in enumerate(data, 1):
        berth.progress(step, "train")          # `berth run --watch` sees that it gets on

Where Berth is not there, all of it does nothing: present() is False, trim() and on_trim() return False, peaks are None.
"""
import atexit
import contextlib
import ctypes
import errno
import mmap
import os
import struct

__all__ = ["present", "trim", "on_trim", "peak_begin", "peak_end", "peak", "progress"]

_CALLBACK = ctypes.CFUNCTYPE(None, ctypes.c_void_p)
_library = ctypes.CDLL(None)
_kept = None  # the callback must live as long as it may be called


def _find(name, *types):
    try:
        function = getattr(_library, name)
    except AttributeError:
        return None
    function.argtypes, function.restype = types, ctypes.c_int
    return function


_trim = _find("berth_trim")
_trim_on = _find("berth_trim_on", ctypes.c_void_p, ctypes.c_void_p)
_peak_begin = _find("berth_peak_begin", ctypes.c_char_p)
_peak_end = _find("berth_peak_end", ctypes.c_char_p, ctypes.POINTER(ctypes.c_uint64))


def _check(result, *quiet):
    if result < 0 and -result not in quiet:
        raise OSError(-result, os.strerror(-result))
    return result >= 0


def present():
    """Does this program run under Berth?"""
    return _trim is not None


def trim():
    """Device memory that this process holds unused goes back now. False: there is nothing to give."""
    return _trim is not None and _check(_trim(), errno.ENODEV)


def on_trim(function):
    """function() is called, in a thread of its own, when somebody asks for memory back; None: no more. False: Berth is not there."""
    global _kept
    if _trim_on is None:
        return False
    callback = _CALLBACK(lambda _: function()) if function else None
    _check(_trim_on(ctypes.cast(callback, ctypes.c_void_p) if callback else None, None))
    _kept = callback
    return True


def peak_begin(name):
    """Begins the window of this name, or begins it anew. False: no shared device is used yet, or Berth is not there."""
    return _peak_begin is not None and _check(_peak_begin(name.encode()), errno.ENODEV)


def peak_end(name):
    """Bytes: the most device memory that this process owned at any instant of the window; None: there is no such window."""
    if _peak_end is None:
        return None
    peak_bytes = ctypes.c_uint64()
    return peak_bytes.value if _check(_peak_end(name.encode(), ctypes.byref(peak_bytes)), errno.ENODEV, errno.ENOENT) else None


class _Window:
    bytes = None


@contextlib.contextmanager
def peak(name):
    """with peak(name) as window: … and then window.bytes."""
    window = _Window()
    peak_begin(name)
    try:
        yield window
    finally:
        window.bytes = peak_end(name)


# No call may come while the interpreter ends.
atexit.register(on_trim, None)


_page = None  # False: nobody watches


def progress(steps, phase=None):
    """Tells the watchdog of `berth run --watch` how many steps are done, and what the program is at. False: nobody watches."""
    global _page
    if _page is None:
        try:
            with open(os.environ["BERTH_PROGRESS"], "r+b") as file:
                _page = mmap.mmap(file.fileno(), 4096)
        except (KeyError, OSError, ValueError):
            _page = False
    if _page is False:
        return False
    if phase is not None:
        _page[32:80] = phase.encode("ascii", "replace")[:47].ljust(48, b"\0")
    _page[8:16] = struct.pack("=Q", max(int(steps), 1) & 0xFFFFFFFFFFFFFFFF)
    return True
