from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from bptt.reports import store
from bptt.reports.errors import RecordError
from bptt.reports.records import Bench, Run
from bptt.reports.serial import dumps, from_dict, to_dict
from bptt.reports.store import StreamWriter


def write_stream(run: Run, path: Path) -> bytes:
    with StreamWriter(path) as writer:
        writer.header(Run(command=run.command, seed=run.seed, env=run.env, catalogue=run.catalogue, benches=run.benches))
        for target in run.targets:
            writer.target(target)
        for result in run.results:
            writer.result(result)
        for experiment in run.experiments:
            writer.experiment(experiment)
        writer.close(run.exit_code, run.duration_s)
    return path.read_bytes()


def test_a_stream_holds_the_whole_run(any_run: Run, tmp_path: Path) -> None:
    write_stream(any_run, tmp_path / "new" / "run.jsonl")
    assert store.read_stream(tmp_path / "new" / "run.jsonl") == any_run
    assert store.read_run(tmp_path / "new" / "run.jsonl") == any_run


def test_each_line_is_on_disk_as_soon_as_it_is_written(failing_run: Run, tmp_path: Path) -> None:
    path = tmp_path / "run.jsonl"
    writer = StreamWriter(path)
    writer.header(failing_run)
    for count, result in enumerate(failing_run.results, start=1):
        writer.result(result)
        run = store.read_stream(path)
        assert run.results == failing_run.results[:count]
        assert not run.complete and run.exit_code == 3
    writer.abandon()


@pytest.mark.thorough
def test_a_stream_cut_anywhere_is_a_valid_partial_run(failing_run: Run, tmp_path: Path) -> None:
    content = write_stream(failing_run, tmp_path / "run.jsonl")
    cut = tmp_path / "cut.jsonl"
    start = len(b'{"schema":"bptt/run@1"')
    for end in [*range(start, len(content) - 1, 37), *range(len(content) - 80, len(content) - 1)]:
        cut.write_bytes(content[:end])
        run = store.read_stream(cut)
        assert run.results == failing_run.results[: len(run.results)]
        assert store.read_run(cut) == run
        assert from_dict(to_dict(run)) == run
        assert not run.complete


def test_a_stream_cut_before_the_schema_is_an_error(tmp_path: Path) -> None:
    path = tmp_path / "cut.jsonl"
    for content in (b"", b"\n", b"{", b'{"schema":"bp'):
        path.write_bytes(content)
        with pytest.raises(RecordError, match=r"cut\.jsonl: .*wanted"):
            store.read_stream(path)


def test_a_broken_line_in_the_middle_is_named(failing_run: Run, tmp_path: Path) -> None:
    lines = write_stream(failing_run, tmp_path / "run.jsonl").split(b"\n")
    lines[3] = lines[3][:10]
    (tmp_path / "bad.jsonl").write_bytes(b"\n".join(lines))
    with pytest.raises(RecordError, match=r"bad\.jsonl: line 4: not JSON"):
        store.read_stream(tmp_path / "bad.jsonl")


def test_lines_of_a_newer_minor_version_are_left_out(failing_run: Run, tmp_path: Path) -> None:
    lines = write_stream(failing_run, tmp_path / "run.jsonl").split(b"\n")
    lines.insert(3, b'{"mood": "good"}')
    (tmp_path / "new.jsonl").write_bytes(b"\n".join(lines))
    assert store.read_stream(tmp_path / "new.jsonl") == failing_run


def test_a_run_is_written_whole_into_a_new_folder(any_run: Run, tmp_path: Path) -> None:
    path = tmp_path / "a" / "b" / "run.json"
    store.write_json(any_run, path)
    store.write_json(any_run, str(path))
    assert store.read_json(path) == any_run == store.read_run(path)
    assert os.listdir(path.parent) == ["run.json"]


def test_a_write_that_fails_leaves_the_old_file(failing_run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "run.json"
    store.write_json(failing_run, path)
    old = path.read_bytes()

    def fail(*_: Any) -> None:
        raise OSError("disk full")

    monkeypatch.setattr(os, "replace", fail)
    with pytest.raises(OSError, match="disk full"):
        store.write_json(Run("other", 1), path)
    assert path.read_bytes() == old
    assert os.listdir(tmp_path) == ["run.json"]


def benchmark_json(path: Path, *extras: dict[str, Any]) -> Path:
    entries = [{"name": f"test_{i}", "group": "g", "stats": {"mean": 1.0}, "extra_info": e} for i, e in enumerate(extras)]
    info = {"python_version": "3.11.9", "cpu": {"brand_raw": "a CPU"}}
    path.write_text(json.dumps({"machine_info": info, "benchmarks": entries}))
    return path


def test_benchmarks_with_a_ratio_are_read(tmp_path: Path) -> None:
    full = {
        "ours": 1e-3,
        "theirs": 2e-3,
        "ratio": 0.5,
        "size": [10, 2, 4, 8],
        "dtype": "float64",
        "group": "lstm",
        "budget": 1,
        "low": 0.4,
        "high": 0.6,
    }
    path = benchmark_json(tmp_path / "bench.json", full, {}, {"ratio": 2})
    assert store.read_benchmarks(path) == (
        Bench("test_0", "lstm", "[10, 2, 4, 8]", "float64", 0.5, 0.4, 0.6, 1e-3, 2e-3, 1.0),
        Bench("test_2", "g", "", "", 2.0),
    )


def test_benchmarks_without_a_ratio_are_not_dropped_in_silence(tmp_path: Path) -> None:
    run = store.read_run(benchmark_json(tmp_path / "some.json", {"ratio": 2}, {}))
    assert (len(run.benches), run.env["benchmarks without a ratio, not drawn"]) == (1, ("test_1",))
    for extras, words in ((({}, {}), "none of its 2 benchmarks has"), ((), "it has no benchmark with")):
        with pytest.raises(RecordError, match=rf'none\.json: {words} a "ratio" in its extra_info'):
            store.read_run(benchmark_json(tmp_path / "none.json", *extras))


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("hello", "not JSON"),
        ("[1, 2]", "not a run: found a list"),
        ('{"a": 1}', "without a schema"),
        ('{"schema": "bptt/run@9"}', "wrong schema: found 'bptt/run@9'"),
        ('{"schema": "bptt/run@1", "seed": NaN}', "bare word NaN"),
        ('{"benchmarks": [3]}', r"benchmarks\[0\]"),
        (
            '{"benchmarks": [{"name": "x", "extra_info": {"ratio": "fast"}}]}',
            r"benchmarks\[0\]\.ratio: found a string \('fast'\)",
        ),
        ("[" * 100_000, "nested too deep"),
    ],
)
def test_a_file_that_is_not_a_run_is_one_clear_line(content: str, words: str, tmp_path: Path) -> None:
    path = tmp_path / "x.json"
    path.write_text(content)
    with pytest.raises(RecordError, match=rf"x\.json: .*{words}") as error:
        store.read_run(path)
    assert "\n" not in str(error.value)


def test_bytes_and_missing_files_and_folders_are_clear_errors(tmp_path: Path) -> None:
    (tmp_path / "x.json").write_bytes(b"\xff\xfe{}")
    for path, words in (
        (tmp_path / "x.json", "not text in UTF-8"),
        (tmp_path / "no.json", "cannot be read"),
        (tmp_path, "cannot be read"),
    ):
        for read in (store.read_run, store.read_json, store.read_stream, store.read_benchmarks):
            with pytest.raises(RecordError, match=words):
                read(path)


def test_a_run_and_its_benchmarks_merge(failing_run: Run, tmp_path: Path) -> None:
    store.write_json(failing_run, tmp_path / "run.json")
    benchmark_json(tmp_path / "bench.json", {"ratio": 0.5})
    for order in (("run.json", "bench.json"), ("bench.json", "run.json")):
        run = store.merge(tmp_path / name for name in order)
        assert run.results == failing_run.results and run.exit_code == 1
        assert [b.ratio for b in run.benches] == [0.5]
        assert run.command == failing_run.command


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="named pipes of POSIX")
def test_a_pipe_that_nobody_reads_is_refused_and_one_that_is_read_is_written(failing_run: Run, tmp_path: Path) -> None:
    path = tmp_path / "pipe.json"
    os.mkfifo(path)
    with pytest.raises(OSError):
        store.write_json(failing_run, path)
    reading = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    content = store.stream_of(failing_run)[:4000]
    store.write_bytes(content, path)
    assert os.read(reading, 5000) == content
    os.close(reading)


def test_a_device_is_written_to_and_a_link_followed(failing_run: Run, tmp_path: Path) -> None:
    (tmp_path / "full.json").symlink_to("/dev/full")
    with pytest.raises(OSError, match="No space left"):
        store.write_json(failing_run, tmp_path / "full.json")
    assert Path("/dev/full").is_char_device()
    (tmp_path / "link.json").symlink_to(tmp_path / "real.json")
    store.write_json(failing_run, tmp_path / "link.json")
    assert (tmp_path / "link.json").is_symlink()
    assert store.read_run(tmp_path / "real.json") == failing_run
    store.remove_earlier(tmp_path / "link.json")
    store.remove_earlier(tmp_path / "full.json")
    assert not (tmp_path / "real.json").exists() and Path("/dev/full").is_char_device()


def test_merging_nothing_is_an_error() -> None:
    with pytest.raises(RecordError, match="nothing to merge"):
        store.merge([])


def test_a_header_with_results_in_hand_keeps_none_of_them(failing_run: Run, tmp_path: Path) -> None:
    with StreamWriter(tmp_path / "run.jsonl") as writer:
        writer.header(failing_run)
    run = store.read_stream(tmp_path / "run.jsonl")
    assert run.results == () and run.targets == () and not run.complete
    assert dumps(to_dict(run))
