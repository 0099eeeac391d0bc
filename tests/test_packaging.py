"""The wheel and the sdist, built from a copy of the checkout with what is installed: no network, no isolation."""

import ast
import configparser
import email
import json
import os
import re
import shutil
import subprocess
import sys
import sysconfig
import tarfile
import zipfile
from email.message import Message
from pathlib import Path

import pytest
from once import once

ROOT = Path(__file__).parents[1]
# What no sdist is made from: history, environments, caches, and what another build left.
LEFT_OUT = shutil.ignore_patterns(
    ".git", ".venv", ".*_cache", ".hypothesis", "__pycache__", "*.egg-info", "build", "dist", "*.so"
)


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The directory that holds the sdist, and the wheel that was built from that sdist: once for all tests."""
    return once(tmp_path_factory, "packaging", build)


def build(directory: Path, *options: str, **settings: str) -> None:
    """Build both into this directory, or what the options say, with these in the environment."""
    # In a copy: setuptools leaves build/ and *.egg-info behind, and takes files from those that it finds.
    shutil.copytree(ROOT, directory / "checkout", ignore=LEFT_OUT)
    run = subprocess.run(
        [sys.executable, "-m", "build", "--no-isolation", *options, "--outdir", directory, directory / "checkout"],
        env={**os.environ, "RESOLVE_PURE": "", **settings},
        capture_output=True,
        text=True,
        check=False,
    )
    assert 0 == run.returncode, run.stdout + run.stderr


@pytest.fixture(scope="module")
def wheel(built: Path) -> zipfile.ZipFile:
    """The wheel, open."""
    (path,) = built.glob("*.whl")
    return zipfile.ZipFile(path)


@pytest.fixture(scope="module")
def metadata(wheel: zipfile.ZipFile) -> Message:
    """The METADATA file of the wheel."""
    (name,) = (name for name in wheel.namelist() if name.endswith(".dist-info/METADATA"))
    return email.message_from_bytes(wheel.read(name))


@pytest.fixture(scope="module")
def setup_cfg() -> configparser.ConfigParser:
    """What setup.cfg says."""
    settings = configparser.ConfigParser()
    settings.read(ROOT / "setup.cfg", encoding="utf-8")
    return settings


def test_wheel_holds_the_package_alone(wheel: zipfile.ZipFile) -> None:
    """Nothing but `resolver` and its metadata goes into site-packages: no tests, no benchmarks, no cli.py, no page."""
    tops = {name.split("/")[0] for name in wheel.namelist()}
    assert ["resolver"] == sorted(top for top in tops if not top.endswith((".dist-info", ".data")))


def test_wheel_holds_every_module(wheel: zipfile.ZipFile) -> None:
    """Every module of the checkout is in it (a room without __init__.py would be missing), and the mark of typing."""
    expected = {path.relative_to(ROOT).as_posix() for path in (ROOT / "resolver").rglob("*.py")}
    expected |= {"resolver/py.typed", "resolver/wire/_accelerate.pyi"}
    expected |= {path.relative_to(ROOT).as_posix() for path in (ROOT / "resolver" / "pages" / "templates").iterdir()}
    found = {name for name in wheel.namelist() if name.startswith("resolver/")}
    assert expected == {name for name in found if not name.endswith(".so")}


@pytest.mark.skipif(shutil.which("cc") is None, reason="there is no C compiler")
def test_wheel_holds_the_accelerator(wheel: zipfile.ZipFile) -> None:
    """Where there is a compiler, a wheel is for this Python, and has what it built."""
    built = [name for name in wheel.namelist() if name.endswith(".so")]
    assert [f"resolver/wire/_accelerate{sysconfig.get_config_var('EXT_SUFFIX')}"] == built
    assert "-none-any" not in str(wheel.filename)


@pytest.mark.parametrize("settings", [{"RESOLVE_PURE": "1"}, {"CC": "no-such-compiler"}], ids=["switch", "no compiler"])
def test_pure_wheel(settings: dict[str, str], tmp_path: Path) -> None:
    """RESOLVE_PURE=1 makes a wheel for every platform, and so does a machine without a compiler."""
    build(tmp_path, "--wheel", **settings)
    (path,) = tmp_path.glob("*.whl")
    assert path.name.endswith("-py3-none-any.whl")
    assert [] == [name for name in zipfile.ZipFile(path).namelist() if name.endswith(".so")]


@pytest.mark.parametrize(
    ("words", "kinds"), [(["twine", "check", "--strict"], "*"), (["check_wheel_contents"], "*.whl")]
)
def test_checked_as_an_index_does(built: Path, words: list[str], kinds: str) -> None:
    """An index takes both files and shows the README; the wheel holds what a wheel should."""
    files = [path for path in built.glob(kinds) if path.is_file()]
    done = subprocess.run([sys.executable, "-m", *words, *files], capture_output=True, text=True, check=False)
    assert 0 == done.returncode, done.stdout + done.stderr


def test_wheel_installed(wheel: zipfile.ZipFile, tmp_path: Path) -> None:
    """What pip makes of the wheel runs, away from the checkout."""
    install = ["-m", "pip", "install", "-q", "--no-deps", "--no-index", "--target", str(tmp_path), str(wheel.filename)]
    subprocess.run([sys.executable, *install], check=True)
    env = {name: value for name, value in os.environ.items() if not name.startswith("RESOLVE_")}
    done = subprocess.run(
        [tmp_path / "bin" / "resolve", "python.org", "--lab", "-f", "jsonl"],
        cwd=tmp_path, env={**env, "PYTHONPATH": str(tmp_path)}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert [0, ""] == [done.returncode, done.stderr]
    assert "NOERROR" == json.loads(done.stdout)["status"]


def test_wheel_installs_the_command(wheel: zipfile.ZipFile) -> None:
    """The console script is `resolve`."""
    (name,) = (name for name in wheel.namelist() if name.endswith("/entry_points.txt"))
    scripts = configparser.ConfigParser()
    scripts.read_string(wheel.read(name).decode())
    assert {"resolve": "resolver.__main__:main"} == dict(scripts["console_scripts"])


def test_man_pages(wheel: zipfile.ZipFile, built: Path) -> None:
    """Both hold the man pages; pip puts those of the wheel into share/man of the environment."""
    pages = sorted(path.name for path in (ROOT / "docs" / "man").iterdir())
    installed = [name.partition(".data/data/")[2] for name in wheel.namelist()]
    assert [f"share/man/man1/{page}" for page in pages] == sorted(name for name in installed if "man" in name)
    (path,) = built.glob("*.tar.gz")
    with tarfile.open(path) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    assert set() == {f"docs/man/{page}" for page in pages} - names


def test_metadata(metadata: Message, setup_cfg: configparser.ConfigParser) -> None:
    """Name, version, Python and licence are those of setup.cfg."""
    stated = setup_cfg["metadata"]
    expected = [stated["name"], stated["version"], ">=3.11", "MIT"]
    licence = metadata["License-Expression"] or metadata["License"]
    assert expected == [metadata["Name"], metadata["Version"], metadata["Requires-Python"], licence]


def test_extras(metadata: Message) -> None:
    """Users may ask for `compare`, `plot`, `redis`, `report` and for `all`; `test` is what a checkout's tests need."""
    assert {"all", "compare", "plot", "redis", "report", "test"} <= set(metadata.get_all("Provides-Extra", []))


def test_base_dependencies(metadata: Message) -> None:
    """Installing the package brings these, each with the lowest version that works, and nothing else."""
    base = [need for need in metadata.get_all("Requires-Dist", []) if "extra ==" not in need]
    assert ["aiodns", "click", "dnspython[idna]", "gevent", "idna", "msgspec", "pycares", "rich"] == sorted(
        need.split(">=")[0].strip() for need in base
    )


def test_imports_are_declared(setup_cfg: configparser.ConfigParser) -> None:
    """Whatever the package imports is declared, in the base or in an extra of its own, and not only another's."""
    options = [setup_cfg["options"]["install_requires"], setup_cfg["options.extras_require"]["all"]]
    declared = {re.split(r"[\[ ]", line)[0].lower() for line in "\n".join(options).splitlines() if line[:1].isalpha()}
    found = set()
    for path in (ROOT / "resolver").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                found |= {alias.name.partition(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
                found.add(node.module.partition(".")[0])
    names = {"dns": "dnspython", "zope": "zope.interface"}
    foreign = {names.get(name, name) for name in found - sys.stdlib_module_names - {"resolver", "_typeshed"}}
    assert set() == foreign - declared


def test_sdist_is_a_whole_checkout(built: Path) -> None:
    """Whoever has the sdist can read, build, test and benchmark."""
    (path,) = built.glob("*.tar.gz")
    with tarfile.open(path) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    expected = {f"tests/{path.name}" for path in (ROOT / "tests").glob("*.py")}
    expected |= {"LICENSE", "README.md", "CHANGELOG.md", "CONTRIBUTING.md", "hosts.txt", "cli.py", "setup.cfg"}
    expected |= {
        "setup.py",
        "resolver/wire/_accelerate.c",
        "resolver/wire/_accelerate.pyi",
        "resolver/wire/_reply.h",
        "pyproject.toml",
        "zensical.toml",
        ".ci/run",
        "resolver/py.typed",
        "benchmarks/__init__.py",
        "docs/comparing.md",
    }
    expected |= {"docs/distributed.md", "docs/examples/redis.conf", "docs/examples/resolve-worker.service"}
    assert set() == expected - names
    assert {"SECURITY.md", "CITATION.cff", ".ci/apt-packages.txt", ".github/workflows/ci.yml"} <= names


def test_citation(setup_cfg: configparser.ConfigParser) -> None:
    """The version to cite is the package's."""
    (version,) = re.findall(r"^version: (.+)$", (ROOT / "CITATION.cff").read_text(encoding="utf-8"), re.M)
    assert setup_cfg["metadata"]["version"] == version


def test_workflows(setup_cfg: configparser.ConfigParser) -> None:
    """CI runs .ci/run on each Python that the package names, and without the accelerator; an action is a commit."""
    named = set(re.findall(r":: (3\.\d+)$", setup_cfg["metadata"]["classifiers"], re.M))
    texts = [path.read_text(encoding="utf-8") for path in sorted((ROOT / ".github" / "workflows").glob("*.yml"))]
    check, publish = texts
    assert set() == named - set(re.findall(r'"(3\.\d+)"', check))
    assert [True, True, True] == ["run: .ci/run" in check, 'pure: "1"' in check, "id-token: write" in publish]
    assert [] == [
        each for text in texts for each in re.findall(r"uses: (.*)", text) if not re.search(r"@[0-9a-f]{40} # v", each)
    ]
