import io
import time

import numpy as np
import pytest

from yolopose import images
from yolopose.errors import PoseError

cv2 = pytest.importorskip("cv2")
Image = pytest.importorskip("PIL.Image")

# red, green / blue, white in RGB: each corner tells where it went
CORNERS = np.zeros((40, 60, 3), np.uint8)
CORNERS[:20, :30], CORNERS[:20, 30:], CORNERS[20:, :30], CORNERS[20:, 30:] = (255, 0, 0), (0, 255, 0), (0, 0, 255), 255
# how a viewer turns what was stored, for EXIF orientation 1 to 8
TURNS = [
    lambda a: a,
    lambda a: a[:, ::-1],
    lambda a: a[::-1, ::-1],
    lambda a: a[::-1],
    lambda a: a.swapaxes(0, 1),
    lambda a: a[::-1].swapaxes(0, 1),
    lambda a: a[::-1, ::-1].swapaxes(0, 1),
    lambda a: a[:, ::-1].swapaxes(0, 1),
]


def encoded(kind, picture=CORNERS, **options):
    buffer = io.BytesIO()
    Image.fromarray(picture).save(buffer, kind, **options)
    return buffer.getvalue()


def oriented(kind, orientation, **options):
    exif = Image.Exif()
    exif[0x112] = orientation
    return encoded(kind, exif=exif, **options)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF"])
def test_exif_orientation(kind, orientation, tmp_path):
    data = oriented(kind, orientation)
    upright = TURNS[orientation - 1](CORNERS)[..., ::-1]
    image = images.decode(data)
    assert image.shape == upright.shape
    inner = np.s_[4::12, 4::12]  # away from the borders, where JPEG blurs
    assert np.abs(image[inner].astype(int) - upright[inner]).max() <= 30
    path = tmp_path / "picture"
    path.write_bytes(data)
    assert images.image_size(path) == images.check_image(path) == image.shape[:2]


@pytest.mark.parametrize("orientation", [1, 6])
@pytest.mark.parametrize("reduce", [2, 4, 8])
def test_a_jpeg_may_be_decoded_small(reduce, orientation):
    data = oriented("JPEG", orientation)
    height, width = TURNS[orientation - 1](CORNERS).shape[:2]
    assert images.decode(data, reduce=reduce).shape == (-(-height // reduce), -(-width // reduce), 3)
    assert images.decode(oriented("PNG", orientation), reduce=reduce).shape == (height, width, 3)


@pytest.mark.parametrize("name", ["animated", "still"])
@pytest.mark.parametrize("kind", ["GIF", "WEBP", "PNG"])
def test_of_an_animation_the_first_picture_counts(kind, name, tmp_path):
    more = [Image.fromarray(CORNERS[::-1].copy())] if name == "animated" else []
    data = encoded(kind, save_all=True, append_images=more, lossless=True)
    assert np.abs(images.decode(data).astype(int) - CORNERS[..., ::-1]).max() <= 3


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF", "BMP", "GIF", "PPM", "JPEG2000"])
def test_read_size_and_check_agree(kind, tmp_path):
    path = tmp_path / "Übung 写真.bin"  # non-ASCII name, and a suffix that says nothing
    path.write_bytes(encoded(kind))
    image = images.read_image(path)
    assert image.dtype == np.uint8
    assert image.flags.c_contiguous
    assert images.image_size(path) == images.check_image(str(path)) == image.shape[:2] == (40, 60)


@pytest.mark.parametrize("mode", ["L", "P", "1", "RGBA", "LA", "CMYK"])
def test_pixel_modes(mode):
    kind = "JPEG" if mode == "CMYK" else "PNG"
    buffer = io.BytesIO()
    Image.fromarray(CORNERS).convert(mode).save(buffer, kind)
    image = images.decode(buffer.getvalue())
    assert image.shape == (40, 60, 3)
    assert image[30, 50].tolist() == pytest.approx([255, 255, 255], abs=3)


def test_images_of_16_and_32_bits():
    grey = np.full((12, 14), 40000, np.uint16)
    for suffix in (".png", ".tiff"):
        assert (images.decode(cv2.imencode(suffix, grey)[1].tobytes()) == 40000 >> 8).all()
    half = np.full((12, 14, 3), 0.5, np.float32)
    half[0, 0] = (7, -1, np.nan)
    for suffix in (".pfm", ".tiff"):
        plain = [cv2.IMWRITE_TIFF_COMPRESSION, 1] if suffix == ".tiff" else []  # OpenCV 4 would take LogLuv for it
        image = images.decode(cv2.imencode(suffix, half, plain)[1].tobytes())
        assert image[5, 5].tolist() == [128] * 3
        assert image[0, 0].tolist() == [255, 0, 0]
        grey = cv2.imencode(suffix, half[5:, :, 0].copy(), plain)[1].tobytes()
        assert (images.decode(grey) == 128).all()
        assert images.decode(grey).shape == (7, 14, 3)


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF", "BMP"])
@pytest.mark.parametrize("keep", [0.3, 0.95])
def test_truncated(kind, keep, tmp_path, capfd):
    data = encoded(kind, np.random.default_rng(0).integers(0, 255, (40, 60, 3), dtype=np.uint8))
    path = tmp_path / "cut.bin"
    path.write_bytes(data[: int(len(data) * keep)])
    for function in (images.read_image, images.check_image):
        with pytest.raises(PoseError, match=r"cut\.bin: truncated"):
            function(path)
    assert capfd.readouterr() == ("", "")  # the decoders were not even asked


def test_jpeg_filled_up_with_zeros_is_truncated(tmp_path):
    data = encoded("JPEG", np.random.default_rng(0).integers(0, 255, (90, 90, 3), dtype=np.uint8))
    path = tmp_path / "download.jpg"
    path.write_bytes(data[: len(data) // 2] + bytes(len(data)))
    with pytest.raises(PoseError, match="truncated"):
        images.check_image(path)


def test_unreadable_files_say_why(tmp_path):
    def reason(data):
        path = tmp_path / "x.jpg"
        path.write_bytes(data)
        with pytest.raises(PoseError) as caught:
            images.read_image(path)
        assert "\n" not in str(caught.value)
        return str(caught.value).removeprefix(f"{path}: ")

    assert reason(b"") == "the file is empty"
    assert "no image format" in reason(b"hello world")
    assert "HEIC" in reason(b"\0\0\0\x18ftypheic" + bytes(100))
    broken = bytearray(encoded("PNG"))
    broken[50:60] = bytes(10)
    assert "damaged PNG" in reason(bytes(broken))
    with pytest.raises(PoseError, match=r"gone\.jpg: no such file"):
        images.read_image(tmp_path / "gone.jpg")
    with pytest.raises(PoseError, match=r"gone\.jpg: no such file"):
        images.check_image(tmp_path / "gone.jpg")
    with pytest.raises(PoseError, match="cannot be read"):
        images.read_image(tmp_path)


@pytest.mark.parametrize("kind", ["TIFF", "GIF", "JPEG2000"])
def test_opencv_logs_nothing_for_damaged_images(kind, capfd):
    data = bytearray(encoded(kind, compression="tiff_deflate") if kind == "TIFF" else encoded(kind))
    size = len(data)
    data[size // 3 : size // 3 + 60] = bytes(min(60, size - size // 3))
    level = cv2.setLogLevel if hasattr(cv2, "setLogLevel") else cv2.utils.logging.setLogLevel
    before = level(3)
    try:
        with pytest.raises(PoseError):
            images.decode(bytes(data[:size]), "x.bin")
        assert capfd.readouterr() == ("", "")
        assert level(before) == 3  # given back
    finally:
        level(before)


def test_dng_preview_is_refused():
    info = {50706: b"\1\4\0\0", 254: 1}
    with pytest.raises(PoseError, match="preview"):
        images.decode(encoded("TIFF", tiffinfo=info))
    assert images.decode(encoded("TIFF", tiffinfo={50706: b"\1\4\0\0"})).shape == (40, 60, 3)


def test_small_sides_are_refused_in_data_sets_only(tmp_path):
    path = tmp_path / "small.png"
    path.write_bytes(encoded("PNG", CORNERS[:9]))
    assert images.image_size(path) == images.read_image(path).shape[:2] == (9, 60)
    with pytest.raises(PoseError, match=r"small\.png: 60x9 pixels, .* at least 10"):
        images.check_image(path)


def test_encode_jpeg_round_trip():
    image = np.full((20, 30, 3), (10, 120, 230), np.uint8)
    assert np.abs(images.decode(images.encode_jpeg(image)).astype(int) - image).max() <= 3
    assert len(images.encode_jpeg(CORNERS, quality=20)) < len(images.encode_jpeg(CORNERS, quality=98))


def test_checking_is_much_faster_than_decoding(tmp_path):
    path = tmp_path / "large.jpg"
    path.write_bytes(encoded("JPEG", np.random.default_rng(0).integers(0, 255, (800, 900, 3), dtype=np.uint8)))

    def seconds(function):
        begin = time.process_time()
        for _ in range(5):
            function(path)
        return time.process_time() - begin

    assert seconds(images.check_image) < seconds(images.read_image) / 5
