"""The settings file, and `resolve config`, which says what is in force and where it comes from."""

import contextlib
import io
import json
import os
import sys
import tomllib
from collections.abc import Callable
from pathlib import Path

import click
import pytest
from command import HOME, Done, environment, inside, run

from resolver.commands import cli
from resolver.lab import Lab

File = Callable[[str], dict[str, str]]


@pytest.fixture
def file(tmp_path: Path) -> File:
    """Write the settings file where it is looked for, and return an environment that has it found."""

    def written(text: str) -> dict[str, str]:
        (tmp_path / "resolve").mkdir(exist_ok=True)
        (tmp_path / "resolve" / "config.toml").write_text(text, encoding="utf-8")
        return environment(XDG_CONFIG_HOME=str(tmp_path))

    return written


def complaint(done: Done) -> str:
    """The sentence that tells what is wrong, checked for being all there is."""
    assert [2, "", False] == [done.status, done.out, "Traceback" in done.err]
    return done.err.splitlines()[-1].removeprefix("Error: ")


def printed(*words: str, env: dict[str, str] | None = None) -> str:
    """What `resolve config WORDS` prints, here in this process, for there are many of them."""
    env = env or environment()
    with pytest.MonkeyPatch.context() as patch, contextlib.redirect_stdout(io.StringIO()) as out:
        for name in os.environ.keys() - env.keys():
            patch.delenv(name)
        for name, value in env.items():
            patch.setenv(name, value)
        with cli.make_context("resolve", ["config", *words]) as context:
            cli.invoke(context)
    return out.getvalue()


def sources(*words: str, env: dict[str, str] | None = None) -> dict[str, tuple[str, str]]:
    """What `resolve config WORDS` says: value and source by key."""
    lines = [line.removeprefix("# ").rpartition("  # ") for line in printed(*words, env=env).splitlines()[1:]]
    return {key.strip(): (value.strip(), source) for said, _, source in lines for key, value in [said.split("=", 1)]}


def test_options_by_their_names(lab: Lab, file: File) -> None:
    """The keys are the options; what may be repeated is an array, or one value."""
    env = file(f'engine = "threads"\ntype = ["mx", "AAAA"]\nnameserver = "{lab.nameserver}"\nformat = "jsonl"\n'
               'query-timeout = 1.5\ntries = 2\norder = "input"\n')  # fmt: skip
    assert [("threads", "MX"), ("threads", "AAAA")] == [
        (one["engine"], one["type"]) for one in inside("a.example", env=env).results
    ]


def test_command_line_environment_file_default(lab: Lab, file: File) -> None:
    """The command line outranks the environment, that the file, and that the default."""
    env = file('engine = "asyncio"\ntype = ["MX"]\ntries = 4\n') | {"RESOLVE_TYPE": "AAAA", "RESOLVE_ENGINE": "nope"}
    done = inside("-e", "threads", "-n", lab.nameserver, "--json", "a.example", env=env)
    assert [("threads", "AAAA")] == [(one["engine"], one["type"]) for one in done.results]
    found = sources("-e", "threads", env=env)
    path = env["XDG_CONFIG_HOME"] + "/resolve/config.toml"
    assert [('"threads"', "command line"), ('["AAAA"]', "RESOLVE_TYPE"), ("4", path), ('"wire"', "default")] == [
        found[key] for key in ("engine", "type", "tries", "backend")
    ]


def test_table_of_a_command(file: File) -> None:
    """A table is for its command and outranks what stands above the tables, which is for all."""
    env = file("tries = 4\nrate = 50\n[run]\ntries = 5\n[compare]\nrepeat = 7\n[lab]\nloss = 0.01\n")
    assert ["5", "50.0"] == [sources(env=env)[key][0] for key in ("tries", "rate")]
    compare = sources("compare", env=env)
    assert ["4", "7", '"0"'] == [compare[key][0] for key in ("tries", "repeat", "loss")]
    assert '"0.01"' == sources("lab", env=env)["loss"][0]
    assert "50.0" == sources("worker", env=env)["rate"][0]


@pytest.mark.parametrize("home", ["", "relative"])
def test_where_it_is_looked_for(file: File, tmp_path: Path, home: str) -> None:
    """Without XDG_CONFIG_HOME, or with one that is not absolute, it is ~/.config/resolve/config.toml."""
    file("tries = 4\n")
    (tmp_path / ".config").mkdir()
    (tmp_path / "resolve").rename(tmp_path / ".config" / "resolve")
    env = environment(HOME=str(tmp_path), XDG_CONFIG_HOME=home)
    assert ("4", f"{tmp_path}/.config/resolve/config.toml") == sources(env=env)["tries"]


def test_another_file(file: File, tmp_path: Path) -> None:
    """RESOLVE_CONFIG names another file, --config still another; one that is named must be there."""
    env = file("tries = 4\n")
    (tmp_path / "b.toml").write_text("tries = 5\n")
    (tmp_path / "c.toml").write_text("tries = 6\n")
    env["RESOLVE_CONFIG"] = str(tmp_path / "b.toml")
    assert ("5", str(tmp_path / "b.toml")) == sources(env=env)["tries"]
    assert ("6", f"{tmp_path}/c.toml") == sources("--config", f"{tmp_path}/c.toml", env=env)["tries"]
    assert ("3", "default") == sources("--config", os.devnull, env=env)["tries"]
    for words in (["--config", "none.toml"], ["compare", "--config", "none.toml"]):
        assert "none.toml: No such file or directory" == complaint(inside(*words, "a.example", env=env))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('enigne = "gevent"', "there is no option 'enigne'; valid: backend, capacity, "),
        ('enigne = "gevent"', "; did you mean engine?"),
        ("[compare]\nreapeat = 3", "[compare] there is no option 'reapeat'; valid: backend, capacity, "),
        ("[compare]\nreapeat = 3", "; did you mean repeat?"),
        ("[worker]\nstrict = true", "[worker] there is no option 'strict'; valid: "),
        ("[comparre]\nrepeat = 3", "there is no table [comparre]; valid: compare, engines, lab, nameservers, run, "),
        ("[engine]\nname = 'gevent'", "engine takes text, not a table"),
        ("config = 'other.toml'", "there is no option 'config'; valid: "),
        ("tries = 'three'", "tries takes a number, not 'three'"),
        ("tries = true", "tries takes a number, not true or false"),
        ("strict = 'yes'", "strict takes true or false, not 'yes'"),
        ("engine = true", "engine takes text, not true or false"),
        ("engine = ['gevent', 'threads']", "engine takes one value in `resolve run`, not an array"),
        ("[run]\nengine = ['gevent', 'threads']", "[run] engine takes text, not an array"),
        ("type = ['A', ['MX']]", "type takes text, not an array"),
        ("output = 1979-05-27", "output takes text, not 1979-05-27"),
        ("tries = 0", "tries: '0' is not a whole number above 0"),
        ("tries = 2.5", "tries: '2.5' is not a whole number above 0"),
        ("timeout = nan", "timeout: 'nan' is not a number above 0"),
        ("format = 'xml'", "format: 'xml' is not one of 'text', "),
        ("tries = ", "Invalid value (at "),
        ("tries = 3\ntries = 4", "Cannot overwrite a value (at "),
    ],
)  # fmt: skip
def test_mistakes(file: File, text: str, expected: str) -> None:
    """What the file has wrong is one sentence that names it and the key, whatever the command line says."""
    env = file(text)
    with pytest.raises(click.UsageError) as raised:
        printed("-q", "--lab", "a.example", env=env)
    said = raised.value.message
    assert [True, True] == [said.startswith(f"{env['XDG_CONFIG_HOME']}/resolve/config.toml: "), expected in said], said


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('engine = "asynci"', "engine"),
        ('backend = "wier"', "backend"),
        ('engine = "processes"\ninner = "thread"', "inner"),
        ('type = ["A", "cnmae"]', "type"),
        ('only = "NXDOMIAN"', "only"),
        ('nameserver = ["not an address"]', "nameserver"),
        ('subnet = "192.0.2.0/33"', "subnet"),
        ('tls-ca = "none.pem"', "tls-ca"),
        ('column = "1"\nprefix = "a..b"', "prefix"),
    ],
)
def test_values_that_are_checked_later(file: File, text: str, expected: str) -> None:
    """A mistake that is found when the run is planned names the key and the file too, and says what was meant."""
    env = file(text)
    said = complaint(inside(*(["-n", "127.0.0.1"] if expected != "nameserver" else []), "a.example", env=env))
    assert said.endswith(f" ({expected}: set in {env['XDG_CONFIG_HOME']}/resolve/config.toml)"), said
    assert (expected in ("nameserver", "subnet", "tls-ca", "prefix")) is ("did you mean" not in said)


def test_what_is_nearer_to_the_run(lab: Lab, file: File) -> None:
    """Of two that do not go together, the one that was said nearer to the run counts."""
    at = file('nameserver = ["127.0.0.1:1"]\nquiet = true\nformat = "csv"\n')
    done = inside("--lab", "--json", "--progress", "a.example", env=at)
    assert [0, "NOERROR", True] == [done.status, done.results[0]["status"], "1 host, 1 lookup" in done.err]
    done = inside(
        "-n", lab.nameserver, "a.example", "-f", "jsonl", env=file("lab = true\njson = true\nprogress = true\n")
    )
    assert lab.nameserver == done.results[0]["nameserver"]
    assert "NOERROR" in inside("-n", lab.nameserver, "a.example", "-f", "csv", env=file("json = true\n")).out.split(",")
    both = "(nameserver, lab: set in "
    assert both not in complaint(inside("--lab", "-n", "127.0.0.1", "a.example", env=file("tries = 1\n")))
    assert both in complaint(inside("a.example", env=file('lab = true\nnameserver = ["127.0.0.1"]\n')))


def test_what_is_for_every_run(lab: Lab, file: File) -> None:
    """An option that means nothing with the rest of this run is no mistake if the file has it, above the tables."""
    env = file('inner = "asyncio"\nredis = "redis://127.0.0.1:1"\nkeep = true\nredo = "TIMEOUT"\ngroup = true\n'
               "trusted-rate = 5\n")  # fmt: skip
    assert (0, "a.example\n", "") == inside("-e", "threads", "-n", lab.nameserver, "-f", "hosts", "a.example", env=env)
    env = file('only = "NOERROR"\nwildcards = true\nformat = "csv"\nsubnet = ["192.0.2.0/24"]\ntries = 2\n')
    done = inside("-e", "threads", "-n", lab.nameserver, "--no-wait", "a.example", env=env)
    assert [0, ""] == [done.status, done.err]


def test_engine_of_run_alone(file: File) -> None:
    """The engine, backend and format of `run` do not narrow a comparison, nor are they a worker's or a list's."""
    env = file('engine = "redis"\nbackend = "wire"\nformat = "hosts"\n')
    compare = sources("compare", env=env)
    assert [("", "default")] * 3 == [compare[key] for key in ("engine", "backend", "format")]
    assert ('"gevent"', "default") == sources("worker", env=env)["engine"]
    assert 0 == inside("engines", env=env).status
    env = file('[compare]\nengine = ["gevent"]\n[worker]\nengine = "asyncio"\n')
    assert '["gevent"]' == sources("compare", env=env)["engine"][0]
    assert '"asyncio"' == sources("worker", env=env)["engine"][0]


@pytest.mark.parametrize(("engine", "expected"), [("gevent", True), ("threads", False)])
def test_patching_follows_the_file(file: File, engine: str, expected: bool) -> None:
    """The engine of the file decides whether gevent patches the standard library, before it is used."""
    code = (
        "import socket, sys; from resolver.commands import cli\n"
        "try: cli.main()\nfinally: print('patched', 'gevent' in socket.socket.__module__, file=sys.stderr)"
    )
    done = run("--lab", "-q", "a.example", env=file(f'engine = "{engine}"\n'), command=[sys.executable, "-c", code])
    assert [0, f"patched {expected}"] == [done.status, done.err.splitlines()[-1]]


def test_no_file_costs_nothing(tmp_path: Path) -> None:
    """Without a file nothing is loaded that reads one."""
    code = "import sys; from resolver.commands import cli\ntry: cli.main()\nfinally: print('tomllib' in sys.modules)"
    assert (
        "False"
        == run(
            "-f", "hosts", command=[sys.executable, "-c", code], text="", env=environment(XDG_CONFIG_HOME=str(tmp_path))
        ).out.strip()
    )


def test_help_in_spite_of_a_broken_file(file: File) -> None:
    """Help, version and completion do not need the file."""
    env = file("= broken")
    assert [0, 0] == [inside(word, env=env).status for word in ("-h", "--version")]
    words = {"_RESOLVE_COMPLETE": "bash_complete", "COMP_WORDS": "resolve -e gev", "COMP_CWORD": "2"}
    assert "gevent" in inside(env=env | words).out


@pytest.mark.parametrize("name", sorted(set(cli.commands) - {"completion", "config"}))
def test_config_of_every_command(name: str, file: File) -> None:
    """What it prints is a table of the settings file that changes nothing."""
    text = printed(name)
    again = sources(name, env=file(f"[{name}]\n{text}"))
    assert {key: value for key, (value, _) in sources(name).items()} == {
        key: value for key, (value, _) in again.items()
    }
    assert "config" not in tomllib.loads(text)


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("redis://ann:s3cret@h:1/0", "redis://ann:***@h:1/0"),
        ("rediss://:s3:c/r@et@h", "rediss://:***@h"),
        ("redis://h", "redis://h"),
    ],
)
def test_passwords_are_not_shown(url: str, expected: str, file: File) -> None:
    """Passwords in addresses are masked, wherever they come from."""
    assert [json.dumps(expected)] * 3 == [
        sources("--redis", url)["redis"][0],
        sources(env=environment(RESOLVE_REDIS=url))["redis"][0],
        sources("worker", env=file(f'redis = "{url}"\n'))["redis"][0],
    ]


def test_config_of_what_has_no_settings() -> None:
    """A command without settings, and options that are none, are errors."""
    assert "`resolve completion` has no settings" == complaint(inside("config", "completion"))
    assert "No such option '--enigne'" in complaint(inside("config", "--enigne", "gevent"))
    assert "resolve: compre is taken for a host; did you mean compare?\n" == inside("config", "compre").err


def test_example_of_the_page(file: File) -> None:
    """The file that the page shows says what the page says of it."""
    page = (HOME / "docs" / "in-detail.md").read_text(encoding="utf-8").partition("<!-- settings -->\n```toml\n")[2]
    env = file(page.partition("```")[0])
    ran, compared = sources(env=env), sources("compare", env=env)
    assert ['["192.0.2.53", "192.0.2.54"]', "5.0", '"asyncio"'] == [
        ran[key][0] for key in ("nameserver", "query-timeout", "engine")
    ]
    assert ['["gevent", "asyncio:aiodns"]', "5", "5.0"] == [
        compared[key][0] for key in ("engine", "repeat", "query-timeout")
    ]
    worker = sources("worker", env=env)
    assert ['"redis://192.0.2.10/0"', '"asyncio"'] == [worker[key][0] for key in ("redis", "engine")]
