"""What is used of the GPU's memory, as its driver tells."""

from __future__ import annotations

import contextlib
import ctypes
import threading

from pydantic import Field

from ...passes.errors import ConfpressError
from ..record import Record

#: NVIDIA's driver: there wherever CUDA runs, whichever CUDA ONNX Runtime was built with.
DRIVER = "libcuda.so.1"
_SECONDS_BETWEEN_LOOKS = 0.002


class GpuUse(Record):
    """Growth of what is used of the GPU over its state before loading, CUDA itself being started.

    The driver counts all processes together: these are the model's own figures where nothing else
    takes or frees memory of that GPU meanwhile.
    """

    loaded_bytes: int = Field(description="after loading")
    peak_bytes: int = Field(
        description="the most that was seen while loading and running, by a look every 2 ms"
    )
    held_bytes: int = Field(description="after some runs")


class GpuMemory:
    """The memory of the first GPU."""

    def __init__(self, driver: str = DRIVER) -> None:
        """Starts CUDA in this process.

        Args:
            driver: The library of the driver.

        Raises:
            ConfpressError: there is no driver, or it refuses.
        """
        try:
            self._driver = ctypes.CDLL(driver)
        except OSError as error:
            raise ConfpressError(
                f"the GPU's memory is not known, as {driver} cannot be loaded: {error}."
            ) from error
        device = ctypes.c_int()
        # CUDA's runtime, which ONNX Runtime uses, takes the same context of the device.
        self._context = ctypes.c_void_p()
        self._ask("cuInit", ctypes.c_uint(0))
        self._ask("cuDeviceGet", ctypes.byref(device), ctypes.c_int(0))
        self._ask("cuDevicePrimaryCtxRetain", ctypes.byref(self._context), device)

    def used(self) -> int:
        """Bytes that all processes together use; for any thread.

        Raises:
            ConfpressError: the driver refuses.
        """
        free, total = ctypes.c_size_t(), ctypes.c_size_t()
        self._ask("cuCtxSetCurrent", self._context)
        self._ask("cuMemGetInfo_v2", ctypes.byref(free), ctypes.byref(total))
        return total.value - free.value

    def _ask(self, function: str, *arguments: object) -> None:
        try:
            error = getattr(self._driver, function)(*arguments)
        except AttributeError as missing:
            raise ConfpressError(
                f"the GPU's memory is not known, as its driver has no {function}."
            ) from missing
        if error:
            raise ConfpressError(
                f"the GPU's memory is not known, as its driver answers {function} with error "
                f"{error}."
            )


class GpuWatch:
    """Looks at the GPU's memory again and again, from now on."""

    def __init__(self, memory: GpuMemory) -> None:
        """Starts looking.

        Raises:
            ConfpressError: the driver refuses.
        """
        self._memory = memory
        self._before = self._peak = memory.used()
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._look, daemon=True)
        self._thread.start()

    def growth(self) -> int:
        """Bytes used beyond those at the start.

        Raises:
            ConfpressError: the driver refuses.
        """
        used = self._memory.used()
        self._peak = max(self._peak, used)
        return used - self._before

    def stop(self) -> int:
        """Ends it; the largest growth that was seen, in bytes."""
        self._done.set()
        self._thread.join()
        return self._peak - self._before

    def _look(self) -> None:
        # Where the driver refuses, whoever asks next for the growth is told.
        with contextlib.suppress(ConfpressError):
            while not self._done.wait(_SECONDS_BETWEEN_LOOKS):
                self.growth()
