"""Code out of chat answers: each odd form that real answers take, and the wrong program it could make."""

from __future__ import annotations

import subprocess
import sys

import pytest

from codecard.answers.code import chat_program, chat_prompt
from codecard.languages import language_names

PROMPTS = {
    "py": 'from typing import List\n\ndef total(xs: List[int]) -> int:\n    """ Sum of xs\n    """\n',
    "cpp": "#include<assert.h>\n#include<bits/stdc++.h>\n// Sum of xs\nlong total(std::vector<long> xs) {\n",
    "java": (
        "import java.util.*;\nimport org.javatuples.*;\nclass Problem {\n    // Sum of xs\n"
        "    public static long total(ArrayList<Long> xs) {\n"
    ),
    "js": "//Sum of xs\nfunction total(xs){\n",
    "php": "<?php\n// Sum of xs\nfunction total($xs) {\n",
    "rs": "/// Sum of xs\nfn total(xs: Vec<isize>) -> isize {\n",
}
TESTS = {
    "py": "def check(candidate):\n    assert candidate([1, 2]) == 3\n\ncheck(total)\n",
    "cpp": "}\nint main() {\n    auto candidate = total;\n    assert(candidate({1, 2}) == (3));\n}\n",
    "java": (
        "    }\n    public static void main(String[] args) {\n"
        "    assert(total(new ArrayList<Long>(Arrays.asList(1l, 2l))) == (3l));\n    }\n\n}\n"
    ),
    "js": (
        "const assert = require('node:assert');\n\n\nfunction test() {\n  let candidate = total;\n"
        "  assert.deepEqual(candidate([1, 2]),3);\n}\n\ntest();"
    ),
    "php": (
        "function candidate(...$args) {\n    return total(...$args);\n}\n\nfunction test(): void {\n"
        '    if (candidate(array(1, 2)) !== 3) { throw new Exception("Test failed!"); }\n}\n\ntest();'
    ),
    "rs": "}\n\nfn main() {\n    let candidate = total;\n    assert_eq!(candidate(vec![1, 2]), 3);\n}\n",
}
STOPS = {
    "py": ("\ndef", "\n#", "\nif", "\nclass"),
    "cpp": ("\n}",),
    "java": ("\n    }\n",),
    "js": ("\nfunction ", "\n/*", "\n//", "\nconsole.log"),
    "php": ("\nfunction", "\n?>", "\n//", "\n#"),
    "rs": ("\n}",),
}


def program(language: str, answer: str) -> str:
    source = chat_program(PROMPTS[language], answer, TESTS[language], language, STOPS[language])
    assert source.endswith(TESTS[language])
    return source


def passes(answer: str) -> bool:
    """Run the Python program of an answer written in this file."""
    command = [sys.executable, "-c", program("py", answer)]
    done = subprocess.run(command, check=False, capture_output=True, timeout=60)
    return done.returncode == 0


PY = "def total(xs):\n    return sum(xs)\n"


@pytest.mark.parametrize(
    "answer",
    [
        f"```python\n{PY}```",
        f"Sure! Here it is:\n\n```python\n{PY}```\n\nIt uses `sum`. For example:\n\n```python\ntotal([1])\n```",
        f"```\n{PY}```",
        f"```Python3\n{PY}```",
        f"~~~python\n{PY}~~~",
        f"```python\n{PY}",
        f"```python\r\n{PY}```".replace("\n", "\r\n"),
        f"First the idea:\n```python\nx = total([1])\n```\nThen the code:\n```python\n{PY}```",
        f"```bash\npip install nothing\n```\n```python\n{PY}```",
        "1. Code:\n   ```python\n   def total(xs):\n       return sum(xs)\n   ```\n2. Done",
        PY,
        f"Here is the function.\n{PY}\nThis function adds the numbers, which isn't hard.",
        f"{PY}```\n\nExplanation of it",
        "```python\n    return sum(xs)\n```",
        "```python\nreturn sum(xs)\n```",
        "```python\n" + PROMPTS["py"] + "    return sum(xs)\n```",
        f"```python\ndef plus(a, b):\n    return a + b\n\n{PY}```",
        "```python\ndef total(xs):\n    return fold(xs)\n\ndef fold(xs):\n    return sum(xs)\n```",
        f"```python\n{PY}\nif __name__ == '__main__':\n    raise SystemExit(1)\n```",
        f"```python\n{PY}\nassert total([1]) == 2\nprint(total(None))\n```",
        f"```python\nimport unittest\n{PY}\nclass T(unittest.TestCase):\n    pass\n\nunittest.main()\n```",
        f"```python\nfrom __future__ import annotations\n{PY}```",
        f"```python\n{PY}\nx = total([1, 2\n```",
        "```python\ntotal = lambda xs: sum(xs)\n```",
        f"```python\nimport functools\n\n@functools.lru_cache\ndef h(): pass\n\n{PY}```",
        "```python\nimport sys\nsys.setrecursionlimit(5000)\nTABLE = []\nfor i in range(3):\n    TABLE.append(i)\n"
        "def total(xs):\n    return sum(xs) if TABLE else 0\n```",
    ],
    ids=[
        "plain", "prose around", "no tag", "other tag", "tildes", "never closed", "CRLF", "usage block first",
        "shell block first", "in a list", "no fence", "no fence in prose", "closing fence only", "body only",
        "body without indentation", "prompt repeated", "helper before", "helper after", "main guard",
        "own checks", "unittest.main", "future import", "broken off", "lambda", "decorated helper",
        "set-up before",
    ],
)  # fmt: skip
def test_a_right_python_answer_passes_whatever_it_is_wrapped_in(answer: str) -> None:
    """A right answer passes whatever it is wrapped in."""
    assert passes(answer)


def test_a_wrong_python_answer_never_passes() -> None:
    """Extraction does not make a wrong answer right, nor an empty or refused one."""
    for answer in ("", "I cannot do that.", "```python\n```", "```python\ndef total(xs):\n    return 0\n```"):
        assert not passes(answer)


def test_the_python_function_is_defined_once() -> None:
    """An answer that repeats the signature replaces the prompt's; the prompt's imports stay."""
    source = program("py", f"```python\n{PY}```")
    assert source.count("def total(") == 1
    assert source.startswith("from typing import List\n")


CPP = "long total(std::vector<long> xs) {\n    long t = 0;\n    for (auto x : xs) { t += x; }\n    return t;\n}\n"
JAVA = (
    "    public static long total(ArrayList<Long> xs) {\n        long t = 0;\n"
    "        for (long x : xs) { t += x; }\n        return t;\n    }\n"
)
RS = "fn total(xs: Vec<isize>) -> isize {\n    xs.iter().sum()\n}\n"
JS = "function total(xs) {\n  return xs.reduce((a, b) => a + b, 0);\n}\n"
PHP = "function total($xs) {\n    return array_sum($xs);\n}\n"


def braces(source: str) -> int:
    return source.count("{") - source.count("}")


@pytest.mark.parametrize(
    "answer",
    [
        f"```cpp\n{CPP}```",
        f"```cpp\n#include <vector>\n{CPP}\nint main() {{\n    assert(total({{1}}) == 1);\n    return 0;\n}}\n```",
        f"```cpp\nlong h() {{ return 0; }}\n{CPP}\nlong g() {{ return '{{'; }} // }} brace\n```",
        f"```cpp\n{CPP}\nint main() {{\n    std::cout << total({{1}}",
        "```cpp\n" + CPP.removesuffix("}\n") + "```",
        "```cpp\n    long t = 0;\n    for (auto x : xs) { t += x; }\n    return t;\n}\n```",
        f"Here:\n{CPP}\nThat adds {{them}} up.",
    ],
    ids=["plain", "own main", "helpers, brace in a char", "broken off", "brace missing", "body only", "no fence"],
)
def test_a_cpp_program_has_one_main_and_even_braces(answer: str) -> None:
    """One main, one definition, and as many braces closed as opened."""
    source = program("cpp", answer)
    code = source.replace("'{'", "").replace("// } brace", "")
    assert braces(code) == 0
    assert source.count("int main(") == 1
    assert source.count("long total(std") == 1
    assert source.startswith("#include<assert.h>\n#include<bits/stdc++.h>\n")


def test_a_cpp_union_of_the_prompt_is_there_once() -> None:
    """Types that the prompt defines are there once, whether or not the answer repeats them."""
    union = "union U{\n    long a;    U(long _a) : a(_a) {}\n};\n"
    prompt = f"#include<assert.h>\n{union}U total(long x) {{\n"
    bare, repeated = "U total(long x) {\n    return U(x);\n}\n", f"{union}\nU total(long x) {{ return U(x); }}\n"
    for answer in (bare, repeated):
        source = chat_program(prompt, f"```cpp\n{answer}```", TESTS["cpp"], "cpp", STOPS["cpp"])
        assert source.count("union U{") == 1
        assert braces(source) == 0


@pytest.mark.parametrize(
    "answer",
    [
        f"```java\nclass Problem {{\n{JAVA}}}\n```",
        f"```java\nimport java.util.*;\npublic class Solution {{\n{JAVA}    public static void main(String[] args) "
        "{\n        System.out.println(Solution.total(null));\n    }\n}\n```",
        f"```java\n{JAVA}```",
        f"```java\npublic final class Problem {{\n{JAVA}\n```",
        f"```java\npackage a.b;\nclass Pile {{ int n; }}\nclass Problem {{\n{JAVA}    static void h() {{ }}\n}}\n"
        "public class Main {\n    public static void main(String[] a) { }\n}\n```",
        "```java\n        long t = 0;\n        for (long x : xs) { t += x; }\n        return t;\n    }\n}\n```",
        f"Code:\npublic class Problem {{\n{JAVA}}}\nThis sums them.",
    ],
    ids=["plain", "other class with main", "no class", "class left open", "more classes", "body only", "no fence"],
)
def test_a_java_program_has_the_one_class_that_its_tests_need(answer: str) -> None:
    """One class Problem, not public, with one main (the tests'); all imports first; braces even."""
    source = program("java", answer)
    own_main = int("Main" in source)
    assert braces(source) == 0
    assert source.count("class Problem") == 1
    assert "public class" not in source
    assert "package" not in source
    assert "Solution" not in source
    assert source.count("void main(") == 1 + own_main
    assert source.count("long total(ArrayList") == 1
    assert source.startswith("import java.util.*;\nimport org.javatuples.*;\n")


@pytest.mark.parametrize(
    "answer",
    [
        f"```rust\n{RS}```",
        f'```rust\nuse std::collections::HashMap;\n{RS}\nfn main() {{\n    println!("{{:?}}", total(vec![]));\n}}\n```',
        f"```rust\nfn h<'a>(x: &'a str) -> char {{ '}}' }}\n{RS}```",
        "```rust\n    xs.iter().sum()\n}\n```",
    ],
    ids=["plain", "own main", "lifetime and brace in a char", "body only"],
)
def test_a_rust_program_has_one_main_and_even_braces(answer: str) -> None:
    """One main, one definition, braces even."""
    source = program("rs", answer)
    assert braces(source.replace("'}'", "")) == 0
    assert source.count("fn main(") == 1
    assert source.count("fn total(") == 1


def test_a_rust_use_is_there_once() -> None:
    """A `use` of the prompt is kept when the answer lacks it and dropped when the answer imports the same name."""
    prompt = f"use std::collections::HashMap;\n\n{PROMPTS['rs']}"
    for own, count in (("", 1), ("use std::collections::{HashMap, HashSet};\n", 1)):
        source = chat_program(prompt, f"```rust\n{own}{RS}```", TESTS["rs"], "rs", STOPS["rs"])
        assert source.count("HashMap") == count


@pytest.mark.parametrize(
    ("answer", "gone"),
    [
        (f"```js\n{JS}```", ""),
        (f"```javascript\n{JS}\nconsole.log(total(null).x); // 6\n```", "console"),
        ("```js\nconst total = (xs) => xs.reduce((a, b) => a + b, 0);\n```", ""),
        (f"```js\nexport default {JS}```", "export"),
        (f"```js\n{JS}\nif (require.main === module) {{\n  total(null);\n}}\n```", "require.main"),
    ],
    ids=["plain", "usage that throws", "arrow function", "module syntax", "main guard"],
)
def test_js_code_that_runs_on_its_own_is_taken_away(answer: str, gone: str) -> None:
    """What runs on its own is taken away, and the function is there once."""
    source = program("js", answer)
    assert not gone or gone not in source
    assert source.count("total(xs)") + source.count("total = (xs)") == 1


def test_js_names_that_the_tests_declare_too_stay_in_a_function_of_their_own() -> None:
    """Names that the tests declare are kept inside a function of their own."""
    source = program("js", f"```js\nconst assert = require('assert');\n{JS}\nassert.equal(total([1]), 2);\n```")
    assert source.startswith("const total = (() => {")
    assert "assert.equal(total([1]), 2)" not in source


@pytest.mark.parametrize(
    "answer",
    [
        f"```php\n<?php\n{PHP}?>\n```",
        f"```php\n<?php\n{PHP}```",
        f"```php\n{PHP}```",
        f"```php\n<?php\n{PHP}// see ?>\n<p>text</p>\n<?php\necho total([1]);\n?>\n```",
        "```php\n    return array_sum($xs);\n}\n```",
    ],
    ids=["closing tag", "open", "no tags", "page around", "body only"],
)
def test_a_php_program_has_one_opening_tag_and_no_closing_one(answer: str) -> None:
    """One opening tag, at the start, and no closing tag: else the tests are printed, not run."""
    source = program("php", answer)
    assert source.startswith("<?php\n")
    assert source.count("<?php") == 1
    assert "?>" not in source
    assert "<p>" not in source
    assert source.count("function total(") == 1
    assert braces(source) == 0


def test_a_php_closing_tag_in_a_string_stays() -> None:
    """A closing tag inside a string is text."""
    assert "'a ?> b'" in program("php", "```php\n<?php\nfunction total($xs) {\n  $x = 'a ?> b';\n  return 3;\n}\n```")


def test_a_php_function_named_like_the_tests_is_renamed() -> None:
    """A function of the answer that is called like one of the tests is called otherwise."""
    source = program("php", f"```php\n<?php\n{PHP}function test() {{ return total([]); }}\ntest();\n```")
    assert source.count("function test(") == 1


@pytest.mark.parametrize("language", language_names())
def test_the_chat_prompt_holds_the_code_in_a_closed_fence(language: str) -> None:
    """The user turn holds the stripped prompt in a fence that is tagged and closed."""
    text = chat_prompt(PROMPTS[language], language)
    assert text.startswith("Please continue to complete the function.")
    assert text.endswith(f"\n{PROMPTS[language].strip()}\n```")


@pytest.mark.parametrize("language", language_names())
def test_a_hostile_answer_still_gives_a_program_that_ends_with_the_tests(language: str) -> None:
    """Whatever a model writes, a program comes out that ends with the tests."""
    for answer in ("```", "```\n```\n```", "{" * 3000, "}" * 3000, "(" * 3000, '"' * 999, "\0\ud800", "word " * 9999):
        program(language, answer)
        program(language, f"```\n{answer}\n```")
