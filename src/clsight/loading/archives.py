"""Where in a zip archive do its members lie? Told by a reader that accepts only what torch writes.

A zip file says most things twice, and says where each thing is: readers that believe different halves see
different files. Here every byte must belong to one member or to the directory, and all that is said twice
must agree; nothing is unpacked, so no archive grows.
"""

import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from clsight.loading.refusals import RefusedError, quoted

_LOCAL: Final = struct.Struct("<4s5H3I2H")
_CENTRAL: Final = struct.Struct("<4s6H3I5H2I")
_END: Final = struct.Struct("<4s4H2IH")
_END_64: Final = struct.Struct("<4sQ2H2I4Q")
_LOCATOR_64: Final = struct.Struct("<4sIQI")
_MAX_16, _MAX_32 = 0xFFFF, 0xFFFFFFFF
_SIZES_FOLLOW, _UTF_8 = 0x8, 0x800
_MOST_MEMBERS: Final = 200_000


@dataclass(frozen=True)
class Member:
    """A file in an archive.

    Attributes:
        name: With the folder that all members share.
        start: Position of its first byte in the archive.
        size: Bytes.
    """

    name: str
    start: int
    size: int


@dataclass(frozen=True)
class _Entry:
    """What the directory says about a member."""

    name: bytes
    flags: int
    checksum: int
    size: int
    header: int


def members(data: bytearray) -> dict[str, Member]:
    """Return the members of a zip archive by name, without the folder that they share.

    Args:
        data: The whole archive.

    Raises:
        RefusedError: If a member is compressed, encrypted or damaged, two overlap or have one name, a name
            leads out of the archive, or there are bytes that belong to nothing.
    """
    first, last, count = _directory(data)
    entries = sorted(_entries(data, first, last, count), key=lambda entry: entry.header)
    found: dict[str, Member] = {}
    for entry, following in zip(entries, [*(entry.header for entry in entries[1:]), first], strict=True):
        member = _locate(data, entry, following)
        if member.name in found:
            raise RefusedError("one member per name", f"{quoted(member.name)} twice")
        found[member.name] = member
    if entries[0].header != 0:
        raise RefusedError("an archive from the first byte on", f"{entries[0].header} bytes in front of it")
    return {name.split("/", maxsplit=1)[1]: member for name, member in _of_one_folder(found).items()}


def _of_one_folder(found: dict[str, Member]) -> dict[str, Member]:
    folders = {name.split("/", maxsplit=1)[0] for name in found}
    if len(folders) > 1 or not all("/" in name for name in found):
        raise RefusedError(
            "one folder that holds all members", ", ".join(quoted(name) for name in sorted(folders)[:3])
        )
    return found


def _directory(data: bytearray) -> tuple[int, int, int]:
    """Return first byte, end, and number of entries of the directory, which must be the last thing there."""
    end = len(data) - _END.size
    if end < 0 or data[end : end + 4] != b"PK\5\6":
        raise RefusedError(
            "an archive that ends with its directory", "another end; it is cut off or has data behind it"
        )
    _, disk, first_disk, here, count, size, start, comment = _END.unpack_from(data, end)
    said = (disk, first_disk, here, count, size, start)
    last = end
    locator = end - _LOCATOR_64.size
    if locator >= 0 and data[locator : locator + 4] == b"PK\6\7":
        last = locator - _END_64.size
        here, count, size, start = _large_directory(data, last, locator, said)
    if (
        comment
        or disk
        or first_disk
        or here != count
        or start + size != last
        or not 0 < count <= _MOST_MEMBERS
    ):
        raise RefusedError("a directory that fills the end of the archive", "one that says otherwise")
    return start, last, count


def _large_directory(
    data: bytearray, place: int, locator: int, said: tuple[int, ...]
) -> tuple[int, int, int, int]:
    """Return entries here, entries, size and start as the 64-bit form says, if the 32-bit form agrees."""
    _, disk, where, disks = _LOCATOR_64.unpack_from(data, locator)
    if place < 0 or disk or disks != 1 or where != place or data[place : place + 4] != b"PK\6\6":
        raise RefusedError("a 64-bit directory where the archive says", "none")
    _, rest, _, _, this, first, *counts = _END_64.unpack_from(data, place)
    agrees = all(
        short in (wide, limit)
        for short, wide, limit in zip(said[2:], counts, (_MAX_16, _MAX_16, _MAX_32, _MAX_32), strict=True)
    )
    if rest != _END_64.size - 12 or this or first or not agrees:
        raise RefusedError("directories that agree", "a 64-bit one that says otherwise")
    return counts[0], counts[1], counts[2], counts[3]


def _entries(data: bytearray, first: int, last: int, count: int) -> Iterator[_Entry]:
    place = first
    for _ in range(count):
        if place + _CENTRAL.size > last or data[place : place + 4] != b"PK\1\2":
            raise RefusedError(f"{count} entries in the directory", "fewer")
        fields = _CENTRAL.unpack_from(data, place)
        flags, method, checksum, packed, size = fields[3], fields[4], *fields[7:10]
        names, extras, comment, disk, header = fields[10], fields[11], fields[12], fields[13], fields[16]
        behind = place + _CENTRAL.size
        name = bytes(data[behind : behind + names])
        extra = bytes(data[behind + names : behind + names + extras])
        place = behind + names + extras + comment
        if method != 0 or flags & ~(_SIZES_FOLLOW | _UTF_8) or comment or disk or place > last:
            got = "one that is compressed" if method else "one that is not"
            raise RefusedError(
                "members that are stored as they are", f"{got}: {quoted(name.decode('latin-1'))}"
            )
        size, packed, header = _widened(extra, size, packed, header)
        if packed != size:
            raise RefusedError(
                "members that are stored as they are", f"{packed} bytes that claim to be {size}"
            )
        yield _Entry(name, flags, checksum, size, header)
    if place != last:
        raise RefusedError(f"{count} entries in the directory", "more")


def _widened(extra: bytes, *values: int) -> tuple[int, ...]:
    """Return the values, those that did not fit 32 bits taken from the extra field."""
    wanted = sum(value == _MAX_32 for value in values)
    if not wanted:
        return values
    place, wide = 0, b""
    while place + 4 <= len(extra):
        kind, length = struct.unpack_from("<2H", extra, place)
        if kind == 1:
            wide += extra[place + 4 : place + 4 + length]
        place += 4 + length
    if place != len(extra) or len(wide) != 8 * wanted:
        raise RefusedError("64-bit sizes for the members that need them", f"{len(wide)} bytes of them")
    numbers = iter(struct.unpack(f"<{wanted}Q", wide))
    return tuple(next(numbers) if value == _MAX_32 else value for value in values)


def _locate(data: bytearray, entry: _Entry, following: int) -> Member:
    """Return where a member's bytes lie; they and its header must reach up to what follows."""
    name = _plain_name(entry.name)
    header = entry.header
    if header + _LOCAL.size > len(data) or data[header : header + 4] != b"PK\3\4":
        raise RefusedError(f"a header of member {quoted(name)}", "none where the directory says")
    _, _, flags, method, _, _, checksum, packed, size, names, extras = _LOCAL.unpack_from(data, header)
    start = header + _LOCAL.size + names + extras
    stop = start + entry.size
    follows = bool(flags & _SIZES_FOLLOW)
    expected = [(entry.checksum, entry.size, entry.size), (entry.checksum, _MAX_32, _MAX_32)]
    if follows:
        expected += [(0, 0, 0), (0, _MAX_32, _MAX_32)]
    if (
        data[header + _LOCAL.size : header + _LOCAL.size + names] != entry.name
        or (flags, method) != (entry.flags, 0)
        or (checksum, packed, size) not in expected
        or not _reaches(data, entry, stop, following, follows=follows)
    ):
        raise RefusedError(f"member {quoted(name)} as the directory says", "another size or place")
    if zlib.crc32(memoryview(data)[start:stop]) != entry.checksum:
        raise RefusedError(f"member {quoted(name)} as it was saved", "another checksum")
    return Member(name, start, entry.size)


def _reaches(data: bytearray, entry: _Entry, stop: int, following: int, *, follows: bool) -> bool:
    """Tell whether member and, where there is one, its descriptor end where the next thing begins."""
    if not follows:
        return stop == following
    said = (entry.checksum, entry.size, entry.size)
    for form in ("<4s3I", "<4sI2Q"):
        if stop + struct.calcsize(form) == following and (form == "<4sI2Q" or entry.size <= _MAX_32):
            return struct.unpack_from(form, data, stop) == (b"PK\7\x08", *said)
    return False


def _plain_name(raw: bytes) -> str:
    try:
        name = raw.decode("utf-8")
    except UnicodeDecodeError:
        name = ""
    parts = name.split("/")
    if not name.isprintable() or "\\" in name or name[1:2] == ":" or {"", ".", ".."} & set(parts):
        raise RefusedError("member names that stay inside", quoted(raw.decode("latin-1")))
    return name
