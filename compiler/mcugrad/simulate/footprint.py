"""The static SRAM of a firmware as arithmetic, before anything is compiled.

A firmware keeps everything that is not the stack in one struct, `firmware_t` of targets/common/firmware.h (a real
board's: `firmware` of serial_main.c): the model, then the session's own buffers. Nothing else has a static, which the
linked image is checked for.
"""

_COMMAND = 80  # mg_command_t
_RESULT = 128  # mg_result_t
_IO = 12  # mg_io_t
_PROFILE = 4  # profile_start
_SERIAL = 672  # mg_serial_t
_LOG = 40  # mg_flash_log_t


def _align8(n: int) -> int:
    return (n + 7) // 8 * 8


def session_bytes(output_len: int, target_len: int) -> int:
    """Bytes of SRAM that the session takes beside the model: its command, its result, the outputs and one target.

    `output_len`: float32 outputs; `target_len`: float32 targets a sample, 0 for a class label.
    """
    return _align8(_COMMAND + _RESULT + _IO + _PROFILE + 4 * output_len + 4 * max(target_len, 1))


def static_bytes(model_bytes: int, output_len: int, target_len: int) -> int:
    """.data + .bss of a firmware: `model_bytes` is sizeof(<name>_t), the lengths are those of `session_bytes`."""
    return _align8(model_bytes) + session_bytes(output_len, target_len)


def serial_static_bytes(model_bytes: int, output_len: int, target_len: int) -> int:
    """The same of a firmware that listens to a serial line (targets/common/serial_main.c), without its drivers."""
    return _align8(model_bytes) + _align8(_SERIAL + 4 * output_len + 4 * max(target_len, 1) + _LOG)
