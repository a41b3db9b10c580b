"""Reads a sealed SQLite file with nothing but its key and docs/format.md.

    python3 tests/reader.py FILE DEK OUT [FILE-ID]

DEK is 64 hexadecimal digits. FILE-ID is the identity that the file is expected to have; without it,
that of its header is taken. OUT becomes the plain SQLite file, the log's commits included. Exits 0
when all fits, and with 1 and one line that says what does not. Shares no code with the program, on
purpose: what is missing here is missing in the document. Journals are not read, nor files
that are being encrypted or decrypted, of which a part is plain.
"""

import hmac
import os
import struct
import sys
from collections import namedtuple

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from cryptography.hazmat.primitives.keywrap import InvalidUnwrap, aes_key_unwrap

TRAILER = 32
BLOCK = 4096
PAGE, WAL_HEADER, WAL_FRAME, WAL_PAGE, RECORD = 1, 2, 3, 4, 8
LABELS = {PAGE: "page", WAL_HEADER: "wal", WAL_FRAME: "wal", WAL_PAGE: "wal", RECORD: "page"}
SETTLED, OPEN, COMMITTING = range(3)

NO_CONVERSION, KEY_CHANGE = 0, 4

Slot = namedtuple("Slot", "sequence page_log2 freshness file_id parity previous")
Frame = namedtuple("Frame", "page commit identity before data")
FIELDS = "sequence version base stage pages sum base_pages base_sum log log_frames anchored zero"
Record = namedtuple("Record", FIELDS)


class Misfit(Exception):
    """Says what does not fit."""


def number(data):
    return int.from_bytes(data, "little")


def derive(dek, label, context):
    info = f"atrest/v1/sqlite/{label}".encode() + b"\0" + context
    return HKDF(algorithm=SHA256(), length=32, salt=None, info=info).derive(dek)


def read_slot(slot, dek):
    if slot[:8] != b"atrestDB":
        raise Misfit("not a sealed file")
    if number(slot[8:10]) != 1:
        raise Misfit(f"format version {number(slot[8:10])}, not 1")
    cipher, page_log2, reserve, state, freshness, parity = slot[10:16]
    if cipher != 1 or not 9 <= page_log2 <= 16 or reserve != TRAILER:
        raise Misfit("another cipher, page size or reserve than there is")
    if state not in (NO_CONVERSION, KEY_CHANGE) or freshness > 1 or parity > 1:
        raise Misfit("a conversion that this reader does not read, or a field that there is not")
    if any(slot[832:872]) != (state == KEY_CHANGE):
        raise Misfit("the key before is there, or missing, against what the state says")
    if any(slot[40:64]) or any(slot[904:1024]):
        raise Misfit("bytes of the header that are to be zero are not")
    file_id = slot[16:32]
    mac = hmac.digest(derive(dek, "header", file_id), slot[:1024], "sha256")
    if not hmac.compare_digest(mac, slot[2016:2048]):
        raise Misfit("the header's MAC does not fit: altered, or of another key")
    previous = None
    if state == KEY_CHANGE:
        try:
            previous = aes_key_unwrap(derive(dek, "previous", file_id), slot[832:872])
        except InvalidUnwrap:
            raise Misfit("the key before does not unwrap") from None
    return Slot(number(slot[32:40]), page_log2, freshness, file_id, parity, previous)


def read_header(data, dek):
    if len(data) < BLOCK:
        raise Misfit("shorter than a header")
    valid = []
    for at in (0, 2048):
        try:
            valid.append(read_slot(data[at : at + 2048], dek))
        except Misfit as misfit:
            if at and not valid:
                raise misfit
    return max(valid)


class Units:
    """Opens the units of one file."""

    def __init__(self, dek, slot):
        # By bit 0 of the salt.
        self.deks = {slot.parity: dek, 1 - slot.parity: slot.previous}
        self.slot = slot
        self.page_size = 1 << slot.page_log2

    def open(self, kind, index, unit, bound=b""):
        """The plaintext, or None when the unit does not fit."""
        n = len(unit) - TRAILER
        nonce, salt, tag = unit[n : n + 12], unit[n + 12 : n + 16], unit[n + 16 :]
        dek = self.deks[salt[0] & 1] if salt else None
        # Bit 1 is only that of pages copied from the log.
        if n < 0 or dek is None or salt[0] & 2 and kind != PAGE:
            return None
        aad = struct.pack("<BBBBIQ", 1, 1, kind, self.slot.page_log2, n, index)
        aad += self.slot.file_id + bound
        key = derive(dek, LABELS[kind], self.slot.file_id + salt)
        try:
            return AESGCM(key).decrypt(nonce, unit[:n] + tag, aad)
        except InvalidTag:
            return None

    def summand(self, page, identity):
        aad = struct.pack("<Q", page) + identity[12:]
        key = derive(self.deks[identity[12] & 1], "sum", self.slot.file_id)
        return number(AESGCM(key).encrypt(identity[:12], b"", aad))


def checksum(order, data, before):
    """SQLite's own, of its "Database File Format", 4.2."""
    a, b = before
    words = struct.unpack(f"{order}{len(data) // 4}I", data)
    for x, y in zip(words[::2], words[1::2]):
        a = (a + x + b) & 0xFFFFFFFF
        b = (b + y + a) & 0xFFFFFFFF
    return a, b


def read_log(log, units):
    """The log's salts, and its frames up to the last commit. What does not fit ends the log."""
    unit = log[:64]
    header = units.open(WAL_HEADER, 0, unit) or bytes(32)
    magic, version, page_size = struct.unpack(">III", header[:12])
    order = ">" if magic & 1 else "<"
    running = checksum(order, header[:24], (0, 0))
    known = magic >> 1 == 0x377F0682 >> 1 and version == 3007000
    if not known or page_size != units.page_size or running != struct.unpack(">II", header[24:]):
        return None, []
    salts = header[16:24]
    frames, committed, previous = [], 0, unit[-TRAILER:-16]
    step = 88 + units.page_size
    for index, at in enumerate(range(64, len(log) - step + 1, step)):
        unit, sealed = log[at : at + 88], log[at + 88 : at + step]
        plain = units.open(WAL_FRAME, index, unit)
        if plain is None or plain[24:40] != previous or plain[8:16] != salts:
            break
        data = units.open(WAL_PAGE, index, sealed, plain[:4] + plain[8:16])
        if data is None:
            break
        data += bytes(TRAILER)
        page, commit = struct.unpack(">II", plain[:8])
        running = checksum(order, plain[:8] + data, running)
        if page == 0 or running != struct.unpack(">II", plain[16:24]):
            break
        previous = unit[-TRAILER:-16]
        frames.append(Frame(page, commit, sealed[-TRAILER:-16], plain[40:56], data))
        if commit:
            committed = len(frames)
    return salts, frames[:committed]


def newest_record(data, units):
    records = []
    for place, at in enumerate((1024, 3072, 1536, 3584)):
        sequence = number(data[at : at + 8])
        plain = units.open(RECORD, sequence, data[at + 8 : at + 152])
        if plain is None or sequence % 4 != place:
            continue
        record = Record(sequence, *struct.unpack("<QQQQ16sQ16s8sQQ16s", plain))
        if record.stage > COMMITTING or any(record.zero):
            raise Misfit("a freshness record of a form that there is not")
        records.append(record)
    if not records:
        raise Misfit("no freshness record is authentic")
    return max(records)


def check_sum(record, stored, salts, frames, units):
    """`stored` are the identities of the file's pages, by their number."""
    if record.stage == OPEN:
        raise Misfit("a transaction was under way, and no journal leads back")
    counted = dict(stored)
    taken = record.log_frames if salts is not None and record.log == salts else 0
    if taken > len(frames):
        raise Misfit("the log holds fewer frames than the file has taken in")
    for frame in reversed(frames):
        counted[frame.page] = frame.before
    for frame in frames[:taken]:
        copied = bytearray(frame.identity)
        copied[12] |= 2
        counted[frame.page] = bytes(copied)
    # The file is cut only after the record that takes a log in, so it may still be longer.
    counted = {p: i for p, i in counted.items() if any(i) and (p <= record.pages or not taken)}
    if len(counted) != record.pages:
        raise Misfit(f"{len(counted)} pages where the freshness record says {record.pages}")
    if sum(units.summand(p, i) for p, i in counted.items()) % (1 << 128) != number(record.sum):
        raise Misfit("the pages do not sum up: some are of another version")


def contents(path):
    try:
        with open(path, "rb") as file:
            return file.read()
    except FileNotFoundError:
        return b""


def read(path, dek, expected_id):
    data = contents(path)
    slot = read_header(data, dek)
    if expected_id not in (None, slot.file_id):
        raise Misfit("a file of another identity")
    if contents(path + "-journal"):
        raise Misfit("a journal lies beside: this reader reads none")
    units = Units(dek, slot)
    salts, frames = read_log(contents(path + "-wal"), units)
    from_log = {frame.page: frame.data for frame in frames}
    count = (len(data) - BLOCK) // units.page_size
    stored, pages = {}, dict(from_log)
    for page in range(1, count + 1):
        at = BLOCK + (page - 1) * units.page_size
        unit = data[at : at + units.page_size]
        stored[page] = unit[-TRAILER:-16]
        # A checkpoint that was cut short may have torn a page that the log still holds.
        if page not in from_log:
            plain = units.open(PAGE, page, unit)
            if plain is None:
                raise Misfit(f"page {page} does not fit: altered, or of another place or file")
            pages[page] = plain + bytes(TRAILER)
    version = "none"
    if slot.freshness:
        record = newest_record(data, units)
        check_sum(record, stored, salts, frames, units)
        version = record.version
    count = frames[-1].commit if frames else count
    if any(page not in pages for page in range(1, count + 1)):
        raise Misfit("the file is shorter than its log says")
    # SQLite's own count of pages stands at 28, and holds when 24 and 92 are alike.
    first = pages.get(1, bytes(100))
    if first[24:28] == first[92:96] and struct.unpack(">I", first[28:32])[0] > count:
        raise Misfit("the file is shorter than its first page says")
    return version, [pages[page] for page in range(1, count + 1)]


def main():
    path, dek, out = sys.argv[1:4]
    expected_id = bytes.fromhex(sys.argv[4]) if len(sys.argv) > 4 else None
    try:
        version, pages = read(path, bytes.fromhex(dek), expected_id)
    except Misfit as misfit:
        print(misfit, file=sys.stderr)
        return 1
    # What comes out is nobody else's to read.
    with os.fdopen(os.open(out, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
        file.writelines(pages)
    print(f"version {version}, {len(pages)} pages")
    return 0


if __name__ == "__main__":
    sys.exit(main())
