"""What files say of their pictures, read back with Pillow: all of it comes out again, and nothing that was not there."""

from __future__ import annotations

import io
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from comfyui_histogram_match.command.image_files import read_image, write_image
from photos import photo_8bit
from PIL import ExifTags, Image, ImageCms, IptcImagePlugin, PngImagePlugin
from PIL.PngImagePlugin import PngInfo

SRGB = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
XMP = b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#"/></x:xmpmeta>'
CAT = Image.fromarray(photo_8bit("chelsea")[:60, :80])
MAKER = bytes(range(200))
FORMATS = {".png": "PNG", ".jpg": "JPEG", ".webp": "WEBP", ".tif": "TIFF", ".avif": "AVIF"}


def exif() -> Image.Exif:
    """EXIF with the three directories that pictures have."""
    made = Image.Exif()
    made[ExifTags.Base.ImageDescription] = "a cat"
    made[ExifTags.Base.Artist] = "Somebody"
    made[ExifTags.Base.Orientation] = 6
    made[ExifTags.Base.Copyright] = "(c) Somebody"
    below = made.get_ifd(ExifTags.IFD.Exif)
    below[ExifTags.Base.ExposureTime] = 0.125
    below[ExifTags.Base.DateTimeOriginal] = "2024:05:06 07:08:09"
    below[ExifTags.Base.MakerNote] = MAKER
    made.get_ifd(ExifTags.IFD.GPSInfo)[ExifTags.GPS.GPSLatitudeRef] = "N"
    # Pillow writes directories below into a TIFF only if they come from a file.
    read = Image.Exif()
    read.load(made.tobytes())
    return read


def fields(path: Path) -> dict[Any, Any]:
    """EXIF of a file as Pillow reads it, with the directories below, without what lays out a TIFF."""
    with Image.open(path) as picture:
        read = picture.getexif()
        layout = {*range(254, 267), 273, 277, 278, 279, 282, 283, 284, 296, 317, 339, 700, 33723, 34377, 34675}
        told = {tag: value for tag, value in read.items() if tag not in (*layout, 34665, 34853)}
        for directory in (ExifTags.IFD.Exif, ExifTags.IFD.GPSInfo):
            told |= {(directory.name, tag): value for tag, value in read.get_ifd(directory).items()}
        return told


def copy(source: Path, suffix: str) -> Path:
    target = source.with_name(f"copy{suffix}")
    image = read_image(source)
    write_image(target, image.pixels, image)
    return target


def info(path: Path) -> dict[str, Any]:
    with Image.open(path) as picture:
        picture.load()
        return dict(picture.info)


@pytest.mark.parametrize("target", FORMATS)
@pytest.mark.parametrize("source", FORMATS)
def test_exif_profile_and_xmp_go_from_each_format_to_each(tmp_path: Path, source: str, target: str) -> None:
    path = tmp_path / f"source{source}"
    more: dict[str, Any] = {"xmp": XMP, "exif": exif()}
    if source == ".tif":
        more = {"exif": exif()}
        more["exif"][700] = XMP
    elif source == ".png":
        more = {"pnginfo": PngInfo(), "exif": exif()}
        more["pnginfo"].add_itxt("XML:com.adobe.xmp", XMP.decode())
    CAT.save(path, icc_profile=SRGB, **more)
    expected = fields(path)
    assert expected[("Exif", ExifTags.Base.ExposureTime)] == 0.125
    out = copy(path, target)
    assert fields(out) == expected
    assert info(out)["icc_profile"] == SRGB
    with Image.open(out) as picture:
        picture.load()
        written = picture.tag_v2[700] if target == ".tif" else picture.info["xmp"]  # type: ignore[attr-defined]
    assert (written.encode() if isinstance(written, str) else written) == XMP


@pytest.mark.parametrize("target", [*FORMATS, ".gif", ".bmp"])
@pytest.mark.parametrize("source", [*FORMATS, ".gif", ".bmp"])
def test_nothing_is_invented(tmp_path: Path, source: str, target: str) -> None:
    path = tmp_path / f"source{source}"
    CAT.save(path, **({"dpi": (0, 0)} if source == ".bmp" else {}))
    told = info(copy(path, target))
    assert fields(tmp_path / f"copy{target}") == {}
    for name in ("exif", "icc_profile", "xmp", "comment", "photoshop"):
        assert name not in told
    # Of a TIFF that says nothing, Pillow says one dot an inch.
    assert told.get("dpi", (0, 0)) in ((0, 0), info(path).get("dpi"))
    # A JPEG says at least that it does not say how large its dots are.
    assert told.get("jfif_unit", 0) == 0


@pytest.mark.parametrize("target", [".png", ".jpg", ".tif", ".bmp"])
@pytest.mark.parametrize("source", [".png", ".jpg", ".tif", ".bmp"])
def test_dots_an_inch(tmp_path: Path, source: str, target: str) -> None:
    CAT.save(tmp_path / f"source{source}", dpi=(300, 150))
    assert info(copy(tmp_path / f"source{source}", target))["dpi"] == pytest.approx((300, 150), abs=0.1)


@pytest.mark.parametrize("bits", [8, 16])
def test_text_of_a_png_keeps_its_kind_and_order(tmp_path: Path, bits: int) -> None:
    text = PngInfo()
    text.add_text("prompt", '{"1": {"inputs": {}}}')
    text.add_text("workflow", '{"nodes": []}' * 50, zip=True)
    text.add_itxt("Título", "gato", lang="es", tkey="título")
    text.add(b"gAMA", struct.pack(">I", 45455))
    text.add(b"cHRM", struct.pack(">8I", 31270, 32900, 64000, 33000, 30000, 60000, 15000, 6000))
    text.add_text("prompt", "again")
    picture = CAT if bits == 8 else Image.new("I;16", (8, 8), 700)
    picture.save(tmp_path / "source.png", pnginfo=text)
    out = copy(tmp_path / "source.png", ".png")
    assert chunks(out) == chunks(tmp_path / "source.png")
    assert [name for name, _ in chunks(out)] == [b"cHRM", b"gAMA", b"tEXt", b"zTXt", b"iTXt", b"tEXt"]
    with Image.open(out) as read:
        assert isinstance(read, PngImagePlugin.PngImageFile)
        assert read.text["workflow"] == '{"nodes": []}' * 50


def chunks(path: Path) -> list[tuple[bytes, bytes]]:
    """What is between header and pixels, by a reader of the test's own; colors first, as Pillow sorts them."""
    content, start, found = path.read_bytes(), 8, []
    while start < len(content):
        size, name = struct.unpack_from(">I4s", content, start)
        found.append((name, content[start + 8 : start + 8 + size]))
        start += size + 12
    order = [b"cHRM", b"gAMA"]
    return sorted(
        (chunk for chunk in found if chunk[0] not in (b"IHDR", b"IDAT", b"IEND")),
        key=lambda chunk: order.index(chunk[0]) if chunk[0] in order else len(order),
    )


def test_text_behind_the_pixels_is_kept(tmp_path: Path) -> None:
    text = PngInfo()
    text.add(b"tEXt", b"workflow\0late", after_idat=True)
    CAT.save(tmp_path / "source.png", pnginfo=text)
    with Image.open(copy(tmp_path / "source.png", ".png")) as read:
        read.load()
        assert read.info["workflow"] == "late"


@pytest.mark.parametrize("target", [".jpg", ".gif", ".png"])
@pytest.mark.parametrize("source", [".jpg", ".gif", ".png"])
def test_a_comment(tmp_path: Path, source: str, target: str) -> None:
    text = PngInfo()
    text.add_text("Comment", "a cat")
    CAT.save(tmp_path / f"source{source}", **({"pnginfo": text} if source == ".png" else {"comment": b"a cat"}))
    told = info(copy(tmp_path / f"source{source}", target))
    assert told["Comment" if target == ".png" else "comment"] in (b"a cat", "a cat")


def segment(code: int, data: bytes) -> bytes:
    return struct.pack(">BBH", 0xFF, code, len(data) + 2) + data


def resource(number: int, data: bytes) -> bytes:
    return b"8BIM" + struct.pack(">HHI", number, 0, len(data)) + data + bytes(len(data) % 2)


KEYWORD = b"\x1c\x02\x19\x00\x03cat"


def test_all_comments_iptc_and_long_xmp_of_a_jpeg_stay_but_no_thumbnail(tmp_path: Path) -> None:
    long_xmp = b"http://ns.adobe.com/xmp/extension/\0" + b"0" * 40 + b"<more/>"
    photoshop = resource(0x0404, KEYWORD) + resource(0x040C, b"old colors") + resource(0x03F3, b"\0" * 9)
    content = io.BytesIO()
    CAT.save(content, "JPEG")
    added = [(0xFE, b"first"), (0xE1, long_xmp), (0xED, b"Photoshop 3.0\0" + photoshop), (0xFE, b"second")]
    source = tmp_path / "source.jpg"
    source.write_bytes(content.getvalue()[:2] + b"".join(segment(*one) for one in added) + content.getvalue()[2:])
    out = copy(source, ".jpg")
    with Image.open(out) as read:
        assert [data for code, data in read.applist if code == "COM"] == [b"first", b"second"]  # type: ignore[attr-defined]
        assert ("APP1", long_xmp) in read.applist  # type: ignore[attr-defined]
        assert read.info["photoshop"] == {0x0404: KEYWORD, 0x03F3: b"\0" * 9}
        assert IptcImagePlugin.getiptcinfo(read) == {(2, 25): b"cat"}  # type: ignore[arg-type]
    with Image.open(copy(out, ".tif")) as read:
        assert IptcImagePlugin.getiptcinfo(read) == {(2, 25): b"cat"}  # type: ignore[arg-type]
    with Image.open(copy(tmp_path / "copy.tif", ".jpg")) as read:
        assert read.info["photoshop"] == {0x0404: KEYWORD, 0x03F3: b"\0" * 9}


@pytest.mark.parametrize("padding", [b"", b"behind the thumbnail"])
def test_a_thumbnail_in_exif_goes_and_all_else_stays_to_the_byte(tmp_path: Path, padding: bytes) -> None:
    thumbnail = io.BytesIO()
    CAT.resize((16, 12)).save(thumbnail, "JPEG")
    plain = exif().tobytes()
    # Its first directory names a second one, which Pillow does not write.
    (count,) = struct.unpack_from(">H", plain, 14)
    pointer = 16 + 12 * count
    second = len(plain) - 6
    place = second + 2 + 24 + 4
    directory = struct.pack(">HHHIIHHIII", 2, 513, 4, 1, place, 514, 4, 1, len(thumbnail.getvalue()), 0)
    whole = plain[:pointer] + struct.pack(">I", second) + plain[pointer + 4 :] + directory + thumbnail.getvalue() + padding
    CAT.save(tmp_path / "source.jpg", exif=whole)
    with Image.open(tmp_path / "source.jpg") as read:
        assert read.getexif().get_ifd(ExifTags.IFD.IFD1)[513] == place
    out = copy(tmp_path / "source.jpg", ".jpg")
    with Image.open(out) as read:
        assert read.getexif().get_ifd(ExifTags.IFD.IFD1) == {}
        assert read.info["exif"][: len(plain)] == plain
        assert (thumbnail.getvalue() in read.info["exif"]) == bool(padding)
    assert fields(out) == fields(tmp_path / "source.jpg")


@pytest.mark.filterwarnings("ignore:.*EXIF data")
def test_exif_that_is_damaged_is_kept(tmp_path: Path) -> None:
    damaged = b"Exif\0\0II*\0\xff\xff\xff\x7f"
    CAT.save(tmp_path / "source.jpg", exif=damaged)
    assert info(copy(tmp_path / "source.jpg", ".jpg"))["exif"] == damaged


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32])
@pytest.mark.parametrize("byteorder", ["<", ">"])
def test_what_a_tiff_describes(tmp_path: Path, dtype: type, byteorder: str) -> None:
    values = np.random.default_rng(0).random((9, 7, 3)) if dtype == np.float32 else photo_8bit("chelsea")[:9, :7]
    extra = [
        (285, 2, 0, "page of a book", True),
        (315, 2, 0, "José".encode(), True),
        (33432, 2, 0, "(c) Somebody", True),
        (65000, 12, 3, (0.5, 0.25, 1.0), True),
        (33723, 7, len(KEYWORD), KEYWORD, True),
    ]
    more = {"description": "a cat", "software": "by hand", "datetime": "2024:05:06 07:08:09", "iccprofile": SRGB}
    tifffile.imwrite(
        tmp_path / "source.tif",
        values.astype(dtype),
        photometric="rgb",
        byteorder=byteorder,
        extratags=extra,
        resolution=(118, 118),
        resolutionunit=3,
        metadata=None,
        **more,
    )
    out = copy(tmp_path / "source.tif", ".tif")
    with tifffile.TiffFile(out) as written, tifffile.TiffFile(tmp_path / "source.tif") as source:
        for tag in (270, 285, 282, 283, 296, 305, 306, 315, 33432, 33723, 34675, 65000):
            assert written.pages[0].tags[tag].value == source.pages[0].tags[tag].value, tag  # type: ignore[union-attr]
        assert 34377 not in written.pages[0].tags  # type: ignore[union-attr]
    assert np.array_equal(tifffile.imread(out), values.astype(dtype))


@pytest.mark.parametrize(("compression", "number"), [("raw", 1), ("tiff_lzw", 5), ("tiff_deflate", 8), ("packbits", 32773)])
def test_a_tiff_keeps_its_compression(tmp_path: Path, compression: str, number: int) -> None:
    picture = Image.fromarray(photo_8bit("chelsea"))
    picture.save(tmp_path / "source.tif", compression=compression)
    with Image.open(copy(tmp_path / "source.tif", ".tif")) as read:
        assert read.tag_v2[259] == number  # type: ignore[attr-defined]
        assert np.array_equal(np.asarray(read), photo_8bit("chelsea"))


def test_colors_that_a_tiff_has_multiplied_by_alpha_are_written_as_they_look(tmp_path: Path) -> None:
    values = np.random.default_rng(0).integers(0, 255, (9, 7, 4)).astype(np.uint8)
    values[..., 3] = values[..., 3] // 2 + 128
    multiplied = values.copy()
    multiplied[..., :3] = (values[..., :3] * (values[..., 3:] / 255)).round()
    tifffile.imwrite(tmp_path / "source.tif", multiplied, photometric="rgb", extrasamples=[1])
    with tifffile.TiffFile(copy(tmp_path / "source.tif", ".tif")) as written:
        assert written.pages[0].tags[338].value == (2,)  # type: ignore[union-attr]
        assert np.abs(written.asarray().astype(int) - values).max() <= 2


def test_a_lossy_tiff_becomes_one_without_loss(tmp_path: Path) -> None:
    CAT.save(tmp_path / "source.tif", compression="jpeg")
    with Image.open(copy(tmp_path / "source.tif", ".tif")) as read, Image.open(tmp_path / "source.tif") as source:
        assert read.tag_v2[259] == 8  # type: ignore[attr-defined]
        assert np.abs(np.asarray(read).astype(int) - np.asarray(source)).max() <= 1


@pytest.mark.parametrize("lossless", [False, True])
@pytest.mark.parametrize("alpha", [False, True])
def test_webp_without_loss_stays_so(tmp_path: Path, lossless: bool, alpha: bool) -> None:
    picture = CAT.copy()
    if alpha:
        picture.putalpha(Image.linear_gradient("L").resize(CAT.size))
    picture.save(tmp_path / "source.webp", lossless=lossless, exact=True, icc_profile=SRGB)
    out = copy(tmp_path / "source.webp", ".webp")
    assert (b"VP8L" in out.read_bytes()) == lossless
    with Image.open(out) as read:
        same = np.array_equal(np.asarray(read), np.asarray(picture))
    assert same == lossless


@pytest.mark.parametrize("quality", [30, 75, 98])
@pytest.mark.parametrize("subsampling", [0, 1, 2])
@pytest.mark.parametrize("progressive", [False, True])
def test_a_jpeg_keeps_its_quality(tmp_path: Path, quality: int, subsampling: int, progressive: bool) -> None:
    Image.fromarray(photo_8bit("chelsea")).save(
        tmp_path / "source.jpg", quality=quality, subsampling=subsampling, progressive=progressive
    )
    out = copy(tmp_path / "source.jpg", ".jpg")
    with Image.open(out) as read, Image.open(tmp_path / "source.jpg") as source:
        assert read.quantization == source.quantization  # type: ignore[attr-defined]
        assert read.layer == source.layer  # type: ignore[attr-defined]
        assert ("progressive" in read.info) == progressive
    assert 0.95 < out.stat().st_size / (tmp_path / "source.jpg").stat().st_size < 1.05


@pytest.mark.parametrize("suffix", [".jpg", ".webp", ".avif"])
def test_quality_can_be_asked_for(tmp_path: Path, suffix: str) -> None:
    Image.fromarray(photo_8bit("chelsea")).save(tmp_path / f"source{suffix}", quality=90)
    image = read_image(tmp_path / f"source{suffix}")
    sizes = []
    for quality in (10, 50, 100):
        write_image(tmp_path / f"copy{suffix}", image.pixels, image, quality=quality)
        sizes.append((tmp_path / f"copy{suffix}").stat().st_size)
    assert sizes[0] * 2 < sizes[1] < sizes[2] / 2
    with pytest.raises(ValueError, match=r"argument --quality: expected JPEG, WebP or AVIF with it, got out\.png"):
        write_image(tmp_path / "out.png", image.pixels, image, quality=50)
