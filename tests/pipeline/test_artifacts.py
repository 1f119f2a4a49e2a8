"""The cache's door: what is written comes back, what is damaged is noticed, what reaches out of the file is refused."""

import os
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import h5py
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pipeline.artifacts import USER_BLOCK, Artifact, ArtifactWriter, DamagedArtifact, quarantine, read_header

KEY = "ab" * 32


def write(path, key=KEY, frames=8, note=None):
    rng = np.random.default_rng(0)
    with ArtifactWriter(path, stage="frames", schema="frames", key=key, components={"parameters": {"a": 1}}) as writer:
        writer.put("frames", np.arange(frames))
        writer.put("valid", np.ones(frames, bool))
        stream = writer.stream("images")
        for i in range(frames):
            stream.append(rng.bytes(100 + i))
        writer.attribute("fps", 30.0)
        writer.note = note
    return writer.header


def test_round_trip(tmp_path):
    path = tmp_path / "stage" / "part.h5"
    header = write(path, note={"people": [0, 3]})
    assert read_header(path) == header
    assert header.note == {"people": [0, 3]}
    rng = np.random.default_rng(0)
    with Artifact(path, "frames") as artifact:
        assert np.array_equal(artifact["frames"], np.arange(8))
        assert artifact["valid"].dtype == bool
        assert [artifact.encoded("images", i) for i in range(8)] == [rng.bytes(100 + i) for i in range(8)]
        assert artifact.attribute("fps") == 30.0
        assert artifact.provenance["parameters"] == {"a": 1}
        assert "images/bytes" in artifact and "nothing" not in artifact
    assert sorted(p.name for p in path.parent.iterdir()) == ["part.h5"]


def test_any_hdf5_reader_opens_it(tmp_path):
    write(tmp_path / "a.h5")
    with h5py.File(tmp_path / "a.h5") as file:
        assert file.userblock_size == USER_BLOCK
        assert file.attrs["stage"] == "frames" and file["frames"].fletcher32


def test_content_digest_ignores_key_and_time_but_no_value(tmp_path):
    first = write(tmp_path / "a.h5")
    again = write(tmp_path / "b.h5", key="cd" * 32)
    other = write(tmp_path / "c.h5", frames=9)
    assert first.content == again.content != other.content
    assert first.key != again.key


@pytest.mark.parametrize(
    "change",
    [
        lambda w: w.put("x", np.array([1, 2], np.int64)),
        lambda w: w.put("x", np.array([1, 2], np.int32)),
        lambda w: w.put("x", np.array([[1, 2]], np.int64)),
        lambda w: w.put("y", np.array([1, 2], np.int64)),
        lambda w: w.attribute("x", 1),
    ],
)
def test_content_digest_sees_name_type_and_shape(tmp_path, change):
    digests = []
    for name, extra in (("a", None), ("b", change)):
        with ArtifactWriter(tmp_path / f"{name}.h5", stage="s", schema="manifest", key=KEY) as writer:
            writer.put("names", np.array([b"a"]))
            writer.put("sizes", np.array([1]))
            if extra:
                extra(writer)
        digests.append(writer.header.content)
    assert digests[0] != digests[1]


def test_an_error_leaves_nothing(tmp_path):
    path = tmp_path / "a.h5"
    with pytest.raises(RuntimeError), ArtifactWriter(path, stage="s", schema="manifest", key=KEY) as writer:
        writer.put("names", np.array([b"a"]))
        raise RuntimeError
    assert list(tmp_path.iterdir()) == []


def test_an_incomplete_schema_never_reaches_its_final_name(tmp_path):
    with pytest.raises(DamagedArtifact), ArtifactWriter(tmp_path / "a.h5", stage="s", schema="rig", key=KEY) as writer:
        writer.put("K", np.zeros((1, 3, 3)))
    assert list(tmp_path.iterdir()) == []


def test_sigkill_while_writing_leaves_nothing_at_the_final_name(tmp_path):
    script = textwrap.dedent(f"""
        import os, signal, numpy as np
        from pathlib import Path
        from pipeline.artifacts import ArtifactWriter
        with ArtifactWriter(Path({str(tmp_path)!r}) / "a.h5", stage="s", schema="manifest", key={KEY!r}) as writer:
            writer.put("names", np.array([b"a"]))
            writer._file.flush()
            os.kill(os.getpid(), signal.SIGKILL)
    """)
    done = subprocess.run([sys.executable, "-c", script], env={**os.environ, "PYTHONPATH": str(Path.cwd())})
    assert done.returncode == -signal.SIGKILL
    assert not (tmp_path / "a.h5").exists()
    assert read_header(tmp_path / "a.h5") is None
    write(tmp_path / "a.h5")
    assert read_header(tmp_path / "a.h5") is not None


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(position=st.floats(0, 1, exclude_max=True), bit=st.integers(0, 7))
def test_a_flipped_bit_anywhere_is_noticed(tmp_path, position, bit):
    path = tmp_path / "a.h5"
    write(path)
    data = bytearray(path.read_bytes())
    # Half of the tries go to the user block, which a uniform draw would rarely meet.
    index = int(position * 2 * USER_BLOCK) if position < 0.5 else int((position - 0.5) * 2 * len(data))
    data[index] ^= 1 << bit
    path.write_bytes(data)
    with pytest.raises(DamagedArtifact):
        Artifact(path)


@pytest.mark.parametrize("keep", [0, 1, 100, USER_BLOCK - 1, USER_BLOCK, USER_BLOCK + 1, 5000, -1])
def test_truncation_is_noticed(tmp_path, keep):
    path = tmp_path / "a.h5"
    write(path)
    path.write_bytes(path.read_bytes()[:keep])
    assert read_header(path) is None
    with pytest.raises(DamagedArtifact):
        Artifact(path)


def forged(path, build):
    """A file with a correct seal whose HDF5 part was made by somebody else."""
    from pipeline import artifacts

    with h5py.File(path, "w", userblock_size=USER_BLOCK) as file:
        file.attrs["schema"], file.attrs["schema_version"] = "manifest", 1
        file["names"], file["sizes"] = np.array([b"a"]), np.array([1])
        build(file)
    artifacts._seal(path, KEY, KEY, None)


@pytest.mark.parametrize(
    "build",
    [
        lambda f: f.__setitem__("x", h5py.ExternalLink("/etc/hostname", "/")),
        lambda f: f.__setitem__("x", h5py.SoftLink("/names")),
        lambda f: f.create_dataset("x", (8,), "u1", external=[("/etc/hostname", 0, 8)]),
        lambda f: f.create_dataset("x", (1 << 40,), "f8", chunks=(1 << 10,)),
        lambda f: f.create_dataset("x", data="text", dtype=h5py.string_dtype()),
        lambda f: f.__setitem__("x", np.dtype("f4")),
        lambda f: f.create_virtual_dataset("x", h5py.VirtualLayout((1,), "i8")),
        lambda f: f.attrs.__setitem__("schema", "unheard_of"),
        lambda f: f.attrs.__setitem__("schema_version", 99),
        lambda f: f.__delitem__("sizes"),
        lambda f: f.__setitem__("x", f["/"]),
    ],
    ids=["external link", "soft link", "external storage", "huge", "object", "named type", "virtual", "schema",
         "version", "missing", "group in itself"],
)
def test_what_ours_never_hold_is_refused(tmp_path, build):
    path = tmp_path / "a.h5"
    forged(path, lambda f: None)
    Artifact(path).close()
    forged(path, build)
    with pytest.raises(DamagedArtifact):
        Artifact(path)


def test_another_schema_is_refused(tmp_path):
    write(tmp_path / "a.h5")
    with pytest.raises(DamagedArtifact, match="holds 'frames'"):
        Artifact(tmp_path / "a.h5", "rig")


def test_quarantine_keeps_the_file(tmp_path):
    write(tmp_path / "cache" / "frames" / "a.h5")
    kept = quarantine(tmp_path / "cache" / "frames" / "a.h5", tmp_path / "cache" / "quarantine")
    assert kept.exists() and not (tmp_path / "cache" / "frames" / "a.h5").exists()


def test_a_note_that_does_not_fit_is_refused(tmp_path):
    with pytest.raises(ValueError, match="note"):
        write(tmp_path / "a.h5", note=list(range(1000)))
    assert list(tmp_path.iterdir()) == []
