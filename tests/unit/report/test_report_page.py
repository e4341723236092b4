"""The HTML report in a real browser: it works by mouse and keys, and nothing a model wrote ever runs."""

from __future__ import annotations

import random
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from codecard.files import write_text
from codecard.report.html import render_comparison, render_run
from codecard.runs.reading import read_run
from codecard.stats import compare

pytestmark = pytest.mark.browser
MakeRun = Callable[..., Path]

SMALL = {
    "multipl_e/py:HumanEval_2_two": ["passed", "passed"],
    "multipl_e/py:HumanEval_10_ten": ["wrong", "passed"],
    "multipl_e/cpp:HumanEval_2_two": ["timeout", "build_error"],
    "multipl_e/cpp:HumanEval_3_three": ["sandbox_error", "sandbox_error"],
}


def wait(browser: Any, script: str) -> Any:
    """The script's value once it is true."""
    from selenium.webdriver.support.ui import WebDriverWait

    return WebDriverWait(browser, 60).until(lambda b: b.execute_script(f"return {script}"))


def shown(browser: Any) -> list[str]:
    rows = "[...document.querySelectorAll('#list tbody tr')]"
    return list(browser.execute_script(f"return {rows}.map(r => r.cells[0].innerText + ' ' + r.cells[1].innerText)"))


def choose(browser: Any, control: str, value: str) -> None:
    from selenium.webdriver.support.ui import Select

    Select(browser.find_element("id", control)).select_by_visible_text(value)


def press(browser: Any, *keys: str) -> None:
    from selenium.webdriver import ActionChains

    ActionChains(browser).send_keys(*keys).perform()


def open_page(browser: Any, folder: Path, html: str, fragment: str = "") -> None:
    write_text(folder / "report.html", html)
    browser.get(f"file://{folder}/report.html{fragment}")


@pytest.fixture
def page(browser: Any, make_run: MakeRun) -> Any:
    run = make_run("small", SMALL)
    open_page(browser, run, render_run(read_run(run), {"multipl_e/py": "0.59"}))
    return browser


def test_the_list_searches_filters_and_sorts(page: Any) -> None:
    """Finding one problem among hundreds: by words, by task, by verdict, by natural order of numbers."""
    assert page.find_element("id", "count").text == "4 of 4 problems"
    page.find_element("id", "search").send_keys("py two")
    assert shown(page) == ["multipl_e/py HumanEval_2_two"]
    page.find_element("id", "search").clear()
    page.find_element("id", "search").send_keys("x\b")
    choose(page, "kind", "timeout")
    assert shown(page) == ["multipl_e/cpp HumanEval_2_two"]
    choose(page, "kind", "all")
    page.find_elements("css selector", "#list th button")[1].click()
    assert [row.split()[1] for row in shown(page)] == [
        "HumanEval_2_two", "HumanEval_2_two", "HumanEval_3_three", "HumanEval_10_ten",
    ]  # fmt: skip
    assert page.find_elements("css selector", "#list th")[1].get_attribute("aria-sort") == "ascending"
    page.find_elements("css selector", "#list th button")[2].click()
    page.find_elements("css selector", "#list th button")[2].click()
    assert shown(page)[0] == "multipl_e/py HumanEval_2_two"
    assert page.find_elements("css selector", "#list th")[2].get_attribute("aria-sort") == "descending"


def test_a_keyboard_is_enough(page: Any) -> None:
    """Search, walk, open, step, close, and be where one was: no mouse, no lost focus."""
    from selenium.webdriver.common.keys import Keys

    press(page, "/")
    assert page.switch_to.active_element.get_attribute("id") == "search"
    press(page, Keys.ARROW_DOWN, Keys.ARROW_DOWN)
    assert page.switch_to.active_element.text == "HumanEval_10_ten"
    press(page, Keys.ENTER)
    wait(page, "document.getElementById('detail-title').innerText === 'multipl_e/py HumanEval_10_ten'")
    press(page, "j")
    wait(page, "document.getElementById('detail-title').innerText === 'multipl_e/cpp HumanEval_2_two'")
    press(page, Keys.ESCAPE)
    wait(page, "!document.getElementById('detail').open")
    assert page.switch_to.active_element.text == "HumanEval_2_two"


def test_a_problem_shows_all_that_is_known_of_it(page: Any) -> None:
    """Why did it fail: verdict, stage, limits, times, prompt, completion and program of each sample."""
    page.find_elements("css selector", "#list tbody a")[1].click()
    wait(page, "document.getElementById('detail').open")
    text = page.find_element("id", "detail-body").text
    for part in ("✗ wrong", "Exit code\n1", "0.10 s", "7.6 MiB", "Limits\n1111", "def f():", "return 0", "check(f)"):
        assert part in text
    page.find_elements("css selector", ".samples button")[1].click()
    assert "✓ passed" in page.find_element("id", "detail-body").text
    assert page.switch_to.active_element.get_attribute("aria-pressed") == "true"


def test_a_link_to_a_problem_opens_it(browser: Any, make_run: MakeRun) -> None:
    """A colleague is sent the address of one sample."""
    run = make_run("small", SMALL)
    fragment = "#p=multipl_e%2Fcpp%3AHumanEval_2_two&s=1"
    open_page(browser, run, render_run(read_run(run)), fragment)
    wait(browser, "document.getElementById('detail').open")
    assert "✗ build error" in browser.find_element("id", "detail-body").text


def test_tables_show_intervals_reported_values_and_voids(page: Any) -> None:
    """No number without its interval; a void task is void, not 0."""
    rows = [row.text for row in page.find_elements("css selector", "main section:first-child tbody tr")]
    assert rows == ["pass@1 0.38 0.75 0.00", rows[1], "reported 0.59", "problems 3 +2 void 2 1 +2 void"]
    assert rows[1].startswith("95 % .")
    assert rows[1].count("–") == 3
    assert page.find_elements("css selector", "figure svg")


HOSTILE = {
    "script": "</script><script>window.pwned = 1</script>",
    "image": "<img src='http://127.0.0.1:9/x' onerror='window.pwned = 1'><style>body{display:none}</style>",
    "ansi": "\x1b[31mred\x1b[0m \x07bell \x00nul",
    "surrogate": "broken \udce2\udc82 here",
    "bidi": "access = 'user\u202e \u2066// admin\u2069'",
    "long": "x" * 1_000_000,
    "template": "{{ 7 * 7 }} ${window.pwned = 1} -->]]>",
}


def test_hostile_output_is_shown_as_text(browser: Any, make_run: MakeRun) -> None:
    """Completions, streams and even names that are script, markup, control codes or megabytes: text, all of it."""
    rows = {
        f"multipl_e/py:HumanEval_{i}_{HOSTILE['script']}": [{"verdict": "wrong", "completion": text, "stderr": text}]
        for i, text in enumerate(HOSTILE.values())
    }
    recipe = {"model": HOSTILE["image"], "sampling": {}}
    run = make_run("hostile", rows, recipe=recipe, sandbox=HOSTILE["script"])
    html = render_run(read_run(run))
    assert len(html) < 3_000_000
    open_page(browser, run, html)
    assert browser.find_element("tag name", "h1").text.startswith("<img src=")
    count = len(HOSTILE)
    assert browser.find_element("id", "count").text == f"{count} of {count} problems"
    bodies = []
    for link in range(count):
        browser.find_elements("css selector", "#list tbody a")[link].click()
        wait(browser, "document.getElementById('detail').open")
        bodies.append(browser.execute_script("return document.getElementById('detail-body').textContent"))
        browser.find_element("id", "close").click()
        wait(browser, "!document.getElementById('detail').open")
    assert browser.execute_script("return window.pwned === undefined")
    assert HOSTILE["script"] in bodies[0]
    assert HOSTILE["image"] in bodies[1]
    assert "␛[31mred␛[0m ␇bell ␀nul" in bodies[2]
    assert "broken ⟨U+DCE2⟩⟨U+DC82⟩ here" in bodies[3]
    assert "user⟨U+202E⟩ ⟨U+2066⟩// admin⟨U+2069⟩" in bodies[4]
    assert "880,000 characters left out" in bodies[5]
    assert HOSTILE["template"] in bodies[6]
    assert browser.find_elements("css selector", "img, iframe, link, object, embed, base") == []


def test_the_policy_allows_only_the_pages_own_script(browser: Any, make_run: MakeRun) -> None:
    """Were something to slip through all escaping, the browser still would not run or load it."""
    run = make_run("small", SMALL)
    html = render_run(read_run(run))
    policy = re.search(r'Content-Security-Policy" content="([^"]*)"', html)
    assert policy is not None
    assert "default-src 'none'" in policy.group(1)
    assert "unsafe-eval" not in policy.group(1)
    script_rule = next(rule for rule in policy.group(1).split("; ") if rule.startswith("script-src"))
    assert "unsafe" not in script_rule
    evil = "<script>window.pwned = 1</script><p onclick='window.pwned = 1'>x</p>"
    injected = html.replace("<header>", f"<header>{evil}", 1)
    open_page(browser, run, injected)
    browser.find_element("css selector", "header p").click()
    assert browser.execute_script("return window.pwned === undefined")
    refused = [entry["message"] for entry in browser.get_log("browser")]
    assert len(refused) == 2
    assert all("Content Security Policy" in message for message in refused)


def test_a_comparison_shows_what_turned_and_both_programs_as_a_diff(browser: Any, make_run: MakeRun) -> None:
    """Why did this problem flip: the lines that differ, and both verdicts, on one screen."""
    base = make_run("base", {"multipl_e/py:HumanEval_1_a": ["passed"], "multipl_e/py:HumanEval_2_b": ["passed"]})
    turned = {"verdict": "wrong", "completion": "    return 99\n", "stderr": "AssertionError: 99"}
    new = make_run("new", {"multipl_e/py:HumanEval_1_a": ["passed"], "multipl_e/py:HumanEval_2_b": [turned]})
    left, right = read_run(base), read_run(new)
    html = render_comparison(left, right, compare(left.samples, right.samples), ["The runs differ in images.py."])
    open_page(browser, new, html)
    assert "The runs differ in images.py." in browser.find_element("tag name", "header").text
    assert shown(browser)[0] == "multipl_e/py HumanEval_2_b"
    assert "▼ −1.00" in browser.find_element("css selector", "#list tbody tr").text
    browser.find_element("css selector", "#list tbody a").click()
    wait(browser, "document.getElementById('detail').open")
    assert [n.text for n in browser.find_elements("css selector", "del, ins")] == ["-     return 0", "+     return 99"]
    body = browser.find_element("id", "detail-body").text
    for part in ("✓ passed", "✗ wrong", "AssertionError: 99", "Base: base", "New: new"):
        assert part in body


def test_the_page_has_the_names_and_roles_that_a_screen_reader_needs(page: Any) -> None:
    """Every control has a name, every table its headers, ids are unique, headings go down one level at a time."""
    page.find_elements("css selector", "#list tbody a")[0].click()
    wait(page, "document.getElementById('detail').open")
    problems = page.execute_script("""
        const found = [];
        const ids = [...document.querySelectorAll('[id]')].map((e) => e.id);
        if (new Set(ids).size !== ids.length) found.push('an id occurs twice');
        for (const e of document.querySelectorAll('input, select, button')) {
          const named = e.labels?.length || e.getAttribute('aria-label') || e.textContent.trim();
          if (!named) found.push(`no name: ${e.outerHTML}`);
        }
        for (const e of document.querySelectorAll('th')) if (!e.scope) found.push(`no scope: ${e.outerHTML}`);
        for (const e of document.querySelectorAll('svg')) {
          if (!e.closest('[aria-label]') || e.getAttribute('aria-hidden') !== 'true') found.push('an unnamed drawing');
        }
        let before = 0;
        for (const e of document.querySelectorAll('main :is(h1, h2, h3)')) {
          const level = Number(e.tagName[1]);
          if (before && level > before + 1) found.push(`heading jumps: ${e.textContent}`);
          before = level;
        }
        if (!document.documentElement.lang) found.push('no language');
        return found;
    """)
    assert problems == []


def test_ten_thousand_completions_stay_below_thirty_megabytes(browser: Any, make_run: MakeRun) -> None:
    """966 problems with eleven samples each, of words that do not compress well: one page that still opens."""
    words = random.Random(5)
    vocabulary = ["".join(words.choices("abcdefghijklmnopqrstuvwxyz_", k=words.randint(2, 9))) for _ in range(4000)]

    def text(count: int) -> str:
        return "\n".join("    " + " ".join(words.choices(vocabulary, k=8)) for _ in range(count // 8))

    outcomes: dict[str, list[Any]] = {}
    for problem in range(966):
        prompt, tests = text(80), text(150)
        outcomes[f"multipl_e/py:HumanEval_{problem}_f"] = [
            {"verdict": "wrong", "completion": body, "program": f"{prompt}\n{body}\n{tests}", "stderr": text(40)}
            for body in (text(120) for _ in range(11))
        ]
    run = make_run("large", outcomes)
    html = render_run(read_run(run))
    assert len(html.encode("utf-8", "backslashreplace")) < 30_000_000
    open_page(browser, run, html)
    assert browser.find_element("id", "count").text == "966 of 966 problems, the first 200 shown"
    browser.find_elements("css selector", "#list tbody a")[150].click()
    wait(browser, "document.getElementById('detail').open")
    assert len(browser.find_elements("css selector", ".samples button")) == 11
