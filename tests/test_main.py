"""The command line: pictures to streams and back, refusals, nothing overwritten."""

import os
import subprocess
import sys

import pytest
import torch

from aelib import __main__ as command
from aelib import codecs, files, metrics, zoo


@pytest.fixture(scope="module")
def picture():
    """A colour picture of 45x70 pixels with soft shapes and an edge."""
    y, x = torch.meshgrid(torch.linspace(0, 1, 45), torch.linspace(0, 1, 70), indexing="ij")
    planes = torch.stack([(6 * x).sin() * (4 * y).cos(), (x > 0.6) * 1.0, x * y])
    return ((planes * 0.35 + 0.5) * 255).round().to(torch.uint8)


@pytest.fixture
def source(picture, tmp_path):
    file = tmp_path / "in.png"
    file.write_bytes(files.write_picture(picture, "PNG"))
    return file


def run(*arguments):
    return command.main([str(argument) for argument in arguments])


@pytest.mark.parametrize(("suffix", "quality"), [(".png", 2.5), (".bmp", 7), (".tiff", 0)])
def test_a_picture_comes_back_near_what_it_was(source, picture, tmp_path, capsys, suffix, quality):
    stream, target = tmp_path / "out.ael", tmp_path / f"out{suffix}"
    assert run("compress", source, stream, "--quality", quality) == 0
    assert f"{stream.stat().st_size:,} bytes" in capsys.readouterr().out
    assert run("decompress", stream, target) == 0
    restored = files.read_picture(target.read_bytes(), command.FORMATS[suffix])
    assert restored.shape == picture.shape
    assert stream.stat().st_size < picture.numel() / 4
    assert float(metrics.psnr(picture[None], restored[None])) > 20 + quality


def test_the_stream_is_the_codecs_own(source, picture, tmp_path):
    stream = tmp_path / "out.ael"
    made = set()
    for effort in ("default", "slow"):
        run("compress", source, stream, "--quality", 6, "--effort", effort, "--force")
        codec = zoo.load_learned("cifar10", 6, effort=effort)
        assert stream.read_bytes() == codec.encode(picture[None])[0]
        assert zoo.learned_for(stream.read_bytes()).model.design == codec.model.design
        made.add(stream.read_bytes())
    assert len(made) == 2


def test_a_grey_picture_takes_either_codec_and_a_colour_one_is_not_made_grey(source, tmp_path, capsys):
    grey = tmp_path / "grey.png"
    grey.write_bytes(files.write_picture(files.read_picture(source.read_bytes(), "PNG", channels=1), "PNG"))
    for name, channels in (("cifar10", 3), ("mnist", 1)):
        stream, target = tmp_path / f"{name}.ael", tmp_path / f"{name}.png"
        assert run("compress", grey, stream, "--codec", name) == 0
        assert run("decompress", stream, target) == 0
        assert files.read_picture(target.read_bytes(), "PNG").shape == (channels, 45, 70)
    assert run("compress", source, tmp_path / "colour.ael", "--codec", "mnist") == 1
    assert "--codec cifar10" in capsys.readouterr().err


def test_a_stream_that_claims_much_for_its_bytes_is_decoded_only_if_asked(source, tmp_path, capsys, monkeypatch):
    """Eight bytes of header, and lanes of a byte, would keep a decoder busy for a minute."""
    stream, target = tmp_path / "out.ael", tmp_path / "back.png"
    assert run("compress", source, stream) == 0
    limit = command._PIXELS_A_BYTE * stream.stat().st_size
    monkeypatch.setattr(codecs, "SAFE_PIXELS", 45 * 70 - limit - 1)
    assert run("decompress", stream, target) == 1
    assert f"expected from 1 to {45 * 70 - 1} pixels, got 45x70; --max-pixels allows more" in capsys.readouterr().err
    assert not target.exists()
    with pytest.raises(SystemExit):
        run("decompress", stream, target, "--max-pixels", 0)
    assert "--max-pixels: expected a whole number of at least 1, got '0'" in capsys.readouterr().err
    assert run("decompress", stream, target, "--max-pixels", 45 * 70) == 0
    monkeypatch.setattr(codecs, "SAFE_PIXELS", 45 * 70 - limit)
    assert run("decompress", stream, target, "--force") == 0


def test_nothing_is_overwritten_without_force(source, tmp_path, capsys):
    stream = tmp_path / "out.ael"
    stream.write_bytes(b"precious")
    assert run("compress", source, stream) == 1
    assert "--force" in capsys.readouterr().err
    assert stream.read_bytes() == b"precious"
    assert run("compress", source, stream, "--force") == 0
    target = tmp_path / "back.png"
    target.write_bytes(b"precious")
    assert run("decompress", stream, target) == 1
    assert target.read_bytes() == b"precious"
    assert run("decompress", stream, target, "--force") == 0
    assert run("decompress", stream, tmp_path, "--force") == 1
    assert "expected a file to overwrite" in capsys.readouterr().err


def test_the_source_is_not_overwritten_even_with_force(source, tmp_path, capsys):
    before = source.read_bytes()
    (tmp_path / "also.png").hardlink_to(source)
    for target in (source, tmp_path / "also.png"):
        assert run("compress", source, target, "--force") == 1
        assert "expected two files" in capsys.readouterr().err
    assert source.read_bytes() == before


@pytest.mark.parametrize(
    ("error", "code", "expected"),
    [
        (KeyboardInterrupt(), 130, "stopped, nothing was written"),
        (MemoryError(), 1, "expected more memory"),
        (RuntimeError("not enough memory: you tried to allocate 99 bytes"), 1, "99 bytes"),
    ],
)
def test_work_that_breaks_off_leaves_nothing(source, tmp_path, monkeypatch, capsys, error, code, expected):
    def breaking(self, images):
        raise error

    monkeypatch.setattr(codecs.Learned, "encode", breaking)
    assert run("compress", source, tmp_path / "out.ael") == code
    assert expected in capsys.readouterr().err
    assert os.listdir(tmp_path) == ["in.png"]


def test_a_file_that_comes_while_the_work_is_done_is_not_overwritten(source, tmp_path, monkeypatch, capsys):
    stream = tmp_path / "out.ael"
    encode = codecs.Learned.encode

    def slowly(self, images):
        stream.write_bytes(b"precious")
        return encode(self, images)

    monkeypatch.setattr(codecs.Learned, "encode", slowly)
    assert run("compress", source, stream) == 1
    assert "--force" in capsys.readouterr().err
    assert stream.read_bytes() == b"precious"
    assert sorted(os.listdir(tmp_path)) == ["in.png", "out.ael"]


@pytest.mark.parametrize(
    ("arguments", "content", "expected"),
    [
        (("compress", "in", "out.ael"), b"no picture", "complete picture file"),
        (("compress", "in", "out.ael", "--quality", "7.5"), b"", "quality from 0 to 7"),
        (("compress", "missing", "out.ael"), b"", "No such file"),
        (("decompress", "in", "out.png"), b"", "header of 8 bytes"),
        (("decompress", "in", "out.png"), b"GIF89a and more", "version"),
        (("decompress", "in", "out.jpg"), b"", ".png, .bmp"),
        (("compress", "in", "in/below/out.ael", "--force"), b"", "expected a folder to write into"),
    ],
)
def test_what_cannot_be_done_is_said_in_one_line(tmp_path, monkeypatch, capsys, arguments, content, expected):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "in").write_bytes(content)
    assert run(*arguments) == 1
    said = capsys.readouterr().err
    assert expected in said
    assert said.count("\n") == 1
    assert os.listdir(tmp_path) == ["in"], "no half file is left"


def test_long_work_shows_its_stages(picture, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(command, "_PATIENCE", 0.0)
    source, stream = tmp_path / "large.png", tmp_path / "large.ael"
    source.write_bytes(files.write_picture(picture.repeat(1, 12, 8), "PNG"))
    assert run("compress", source, stream) == 0
    assert run("decompress", stream, tmp_path / "back.png") == 0
    said = capsys.readouterr().err
    for stage in ("analysis", "rounding", "reading", "synthesis"):
        assert f"{stage}: 100%" in said


def test_it_is_what_python_dash_m_runs():
    done = subprocess.run([sys.executable, "-m", "aelib", "--help"], capture_output=True, text=True, check=True)
    assert "compress" in done.stdout
