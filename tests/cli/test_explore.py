"""``wasmjit explore``: what belongs together, and the page in a browser."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from wasmjit import Config, Engine, inspection, wat2wasm
from wasmjit.compile import pipeline
from wasmjit.compile.unit import plan_units

CommandLine = Callable[..., "subprocess.CompletedProcess[str]"]
WriteWat = Callable[[str, str], Path]

MODULE = """(module $sample (memory 1)
  (func $load (export "load") (param i32) (result i32)
    (i32.load offset=4 (i32.add (local.get 0) (i32.const 8))))
  (func $both (export "</script>&") (param i32) (result i32)
    (drop (call $load (i32.const 1)))
    (if (result i32) (local.get 0)
      (then (call $load (local.get 0)))
      (else (i32.const 7)))))"""
BROWSERS = ("chromium", "chromium-browser", "google-chrome", "chrome")


def data_of(page: str) -> list[dict[str, Any]]:
    """The functions that a page shows."""
    found = re.search(r'<script type="application/json" id="data">(.*?)</script>', page, re.DOTALL)
    assert found is not None
    functions: list[dict[str, Any]] = json.loads(found[1])
    return functions


@pytest.fixture
def page(wasmjit: CommandLine, write_wat: WriteWat, tmp_path: Path) -> str:
    write_wat("m.wat", MODULE)
    done = wasmjit("explore", "m.wat")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    return (tmp_path / "m.explore.html").read_text()


def linked(function: dict[str, Any], wasm: str) -> dict[str, list[str]]:
    """What says of itself that it belongs to a line of wasm, by column."""
    (offset,) = {offset for text, offset, exact in function["wasm"] if wasm in text and exact}
    return {
        column: [text for text, at, exact in function[column] if at == offset and exact]
        for column in ("wasm", "ir", "assembly")
    }


def test_lines_are_linked_by_offset(page: str) -> None:
    load, both = data_of(page)
    assert [load["name"], both["name"]] == ["load", "both"]
    found = linked(load, "i32.load")
    assert [text.strip() for text in found["wasm"]] == ["i32.load offset=4"]
    assert any("load volatile i32" in text for text in found["ir"])
    assert found["assembly"]
    calls = [offset for text, offset, exact in both["wasm"] if "call $load" in text and exact]
    assert len(set(calls)) == 2
    for call in calls:
        assert any("@f0(" in text for text, at, exact in both["ir"] if at == call and exact)
        assert any("f0" in text for text, at, exact in both["assembly"] if at == call and exact)


def test_what_leads_up_to_an_instruction_is_marked_weakly(page: str) -> None:
    load = data_of(page)[0]
    ((at, _),) = [(offset, exact) for text, offset, exact in load["wasm"] if "i32.load" in text]
    assert ["i32.add", at, 0] in [[text.strip(), offset, exact] for text, offset, exact in load["wasm"]]
    assert any("add i32" in text and offset == at and not exact for text, offset, exact in load["ir"])


def test_columns_are_whole(page: str, wasmjit: CommandLine) -> None:
    for function in data_of(page):
        texts = {column: [line[0] for line in function[column]] for column in ("wasm", "ir", "assembly")}
        assert texts["wasm"][0].startswith("(func") and texts["wasm"][-1].strip() == ")"
        assert texts["ir"][0].startswith("define") and texts["ir"][-1] == "}"
        assert texts["assembly"][0] == f"f{function['index']}:"
        assert not any(text.lstrip().startswith((".loc", ".cfi")) for text in texts["assembly"])
    ir = wasmjit("objdump", "--optimised-ir", "--function", "both", "m.wat").stdout
    assert [line[0] for line in data_of(page)[1]["ir"]] == ir.rstrip("\n").split("\n")


def test_options(wasmjit: CommandLine, write_wat: WriteWat, tmp_path: Path) -> None:
    write_wat("m.wat", MODULE)
    words = ("explore", "-O0", "--generated-ir", "--target", "aarch64-unknown-linux-gnu", "-f", "both", "-o", "o.html")
    assert wasmjit(*words, "m.wat").returncode == 0
    (function,) = data_of((tmp_path / "o.html").read_text())
    assert function["name"] == "both" and any(text.split() == ["bl", "f0"] for text, *_ in function["assembly"])
    missing = wasmjit("explore", "-f", "none", "m.wat")
    assert missing.returncode == 1 and "'none'" in missing.stderr
    wasmjit("compile", "m.wat")
    compiled = wasmjit("explore", "m.cwasm")
    assert compiled.returncode == 1 and "m.cwasm is precompiled" in compiled.stderr


def test_several_units(monkeypatch: pytest.MonkeyPatch) -> None:
    """Metadata numbers start again in each LLVM module."""
    config = Config()
    wasm = bytes(wat2wasm(MODULE))
    artifact = Engine(config).precompile_module(wasm)
    together = inspection.side_by_side(wasm, artifact, config)
    monkeypatch.setattr(pipeline, "plan_units", lambda module: plan_units(module, unit_bytes=1))
    apart = inspection.side_by_side(wasm, artifact, config)
    for one, other in zip(together, apart, strict=True):
        assert one.wasm == other.wasm
        assert {line.offset for line in one.ir} == {line.offset for line in other.ir}
        assert {line.offset for line in one.assembly} == {line.offset for line in other.assembly}


class _References(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found += [f"{tag} {name}={value}" for name, value in attrs if name in ("src", "href", "srcset", "data")]


def test_the_page_needs_nothing_else(page: str) -> None:
    parser = _References()
    parser.feed(page)
    assert parser.found == []
    assert "url(" not in page and "@import" not in page and "fetch(" not in page


# Runs in the page: points at lines, and leaves what came of it in the document for --dump-dom.
_CHECK = """<script>
const problems = [];
addEventListener("error", event => problems.push(event.message));
addEventListener("load", () => {
  const out = {};
  const lines = (id, kind) => [...document.querySelectorAll(`#${id} li.${kind}`)].map(line => line.textContent.trim());
  const point = (id, text) => [...document.querySelectorAll(`#${id} li`)].find(line => line.textContent.includes(text))
    .dispatchEvent(new MouseEvent("mouseover", {bubbles: true}));
  try {
    out.options = [...document.getElementById("choose").options].map(option => option.text);
    point("wasm", "i32.load");
    out.wasm = lines("wasm", "on"); out.ir = lines("ir", "on"); out.assembly = lines("assembly", "on");
    out.near = lines("wasm", "near"); out.where = document.getElementById("where").textContent;
    point("ir", "load volatile i32");
    out.back = lines("wasm", "on");
    document.querySelector("#wasm li[data-exact]").click();
    out.pinned = lines("wasm", "pin").length + lines("assembly", "pin").length;
    document.dispatchEvent(new KeyboardEvent("keydown", {key: "Escape"}));
    out.left = document.querySelectorAll("li.on, li.pin, li.near").length;
    document.getElementById("find").value = "both";
    document.getElementById("find").dispatchEvent(new Event("input"));
    out.found = document.querySelector("#wasm li").textContent; out.hash = location.hash;
  } catch (error) { problems.push(String(error)); }
  out.problems = problems;
  const result = document.createElement("pre");
  result.id = "result"; result.textContent = JSON.stringify(out);
  document.body.append(result);
});
</script>"""


def test_in_a_browser(page: str, tmp_path: Path) -> None:
    browser = next(filter(None, map(shutil.which, BROWSERS)), None)
    if browser is None:
        pytest.skip("no Chromium here (Debian: apt-get install chromium)")
    checked = tmp_path / "checked.html"
    checked.write_text(page.replace("<header>", f"{_CHECK}<header>"))
    done = subprocess.run(
        [browser, "--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={tmp_path / 'profile'}"]
        + ["--virtual-time-budget=5000", "--dump-dom", checked.as_uri()],
        capture_output=True,
        text=True,
        timeout=120,
    )
    found = re.search(r'<pre id="result">(.*?)</pre>', done.stdout, re.DOTALL)
    assert found is not None, done.stderr[-2000:]
    out = json.loads(found[1].replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&"))
    assert out["problems"] == []
    assert [text.split(" - ")[0] for text in out["options"]] == ["0: load", "1: both"]
    assert out["wasm"] == out["back"] == ["i32.load offset=4"]
    assert any("load volatile i32" in text for text in out["ir"]) and out["assembly"]
    assert "i32.add" in out["near"] and out["where"].startswith("wasm offset 0x")
    assert out["pinned"] >= 2 and out["left"] == 0
    assert out["found"].startswith("(func $both") and out["hash"] == "#1"
