"""The page *Many machines* and its examples, tested against the command: what it shows is run, what it counts is so.

The Redis is that of docs/examples/redis.conf, with its one user, at another port; who wants to see what that user may
not do asks as `admin`, whom the tests add.
"""

import base64
import configparser
import contextlib
import json
import os
import re
import runpy
import shlex
import shutil
import signal
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import click
import pytest
import redis
from cluster import free_port, present
from command import COMMAND, environment, line, start, wait_for

from resolver.commands import cli
from resolver.distributed import active_chunk, broker, chunk_window, engine, envelope, payload, worker
from resolver.distributed.embedded import SETTING, find_server
from resolver.engines import ENGINES, carries
from resolver.lab import Lab

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "docs" / "distributed.md").read_text(encoding="utf-8")
PROSE = " ".join(PAGE.split())
EXAMPLES = ROOT / "docs" / "examples"
HOSTS = [f"{letter}.example" for letter in "abcdefgh"]


def shell(name: str) -> list[str]:
    """The lines of shell between the marks, without their comments."""
    block = PAGE.partition(f"<!-- {name} -->")[2].partition("<!-- end -->")[0].strip()
    assert block.startswith("```sh\n")
    return [re.split(r"\s+# ", each)[0] for each in block.splitlines()[1:-1]]


class Site(NamedTuple):
    """A Redis as the page has it, and a directory to work in."""

    directory: Path
    env: dict[str, str]
    port: int
    admin: Any

    def adapted(self, command: str) -> str:
        """One of the page's commands, for this machine."""
        return command.replace("192.0.2.10/", f"127.0.0.1:{self.port}/").replace("192.0.2.53", self.env["LAB"])

    @contextlib.contextmanager
    def running(self, command: str) -> Iterator[subprocess.Popen[bytes]]:
        """This command, until it is left."""
        with subprocess.Popen(
            ["sh", "-c", f"exec {command}"], cwd=self.directory, env=self.env,
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True,
        ) as process:  # fmt: skip
            try:
                yield process
            finally:
                process.kill()


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """The first of the five commands, at another port, and the second."""
    directory = tmp_path_factory.mktemp("site")
    serve, export, *_ = shell("five commands")
    assert "redis-server redis.conf" == serve
    (directory / "bin").mkdir()
    (directory / "bin" / "redis-server").symlink_to(find_server())
    (directory / "bin" / "resolve").write_text(f'#!/bin/sh\nexec {shlex.join(COMMAND)} "$@"\n')
    (directory / "bin" / "resolve").chmod(0o755)
    (directory / "hosts.txt").write_text("\n".join(HOSTS))
    port = free_port()
    settings = (EXAMPLES / "redis.conf").read_text(encoding="utf-8")
    for before, after in (("bind 127.0.0.1 192.0.2.10", "bind 127.0.0.1"), ("port 6379\n", f"port {port}\n")):
        settings = settings.replace(before, after, 1)
    (directory / "redis.conf").write_text(f"{settings}\nuser admin on nopass ~* &* +@all\n")
    path = os.pathsep.join([str(directory / "bin"), os.path.dirname(sys.executable), os.environ["PATH"]])
    with Lab() as lab, redis.Redis(port=port, username="admin", password="-") as admin:
        site = Site(directory, environment(PATH=path, LAB=lab.nameserver), port, admin)
        name, _, address = site.adapted(export.removeprefix("export ")).partition("=")
        site.env[name] = address
        with site.running(serve):
            wait_for(lambda: _answers(admin), "the Redis")
            yield site


def _answers(client: Any) -> bool:
    try:
        return bool(client.ping())
    except redis.exceptions.ConnectionError:
        return False


@pytest.fixture(scope="module")
def manned(site: Site) -> Iterator[Site]:
    """The third and the fourth: two workers. The one without -n asks the lab too."""
    first, second = shell("five commands")[2:4]
    with site.running(f"{first} -n {site.env['LAB']}"), site.running(site.adapted(second)):
        wait_for(lambda: len(present(site.admin)) == 2, "two workers")
        yield site


def told(env: dict[str, str]) -> str:
    """What a run says first."""
    with start("a.example", "-e", "redis", env=env, stdin=subprocess.DEVNULL) as process:
        said = line(process.stderr)
        process.send_signal(signal.SIGINT)
        assert 130 == process.wait(30)
    return said


def test_no_worker_is_told_as_shown(site: Site) -> None:
    """The sentence that no worker is there, and the one that those that are have another version."""
    shown = re.findall(r"^```text\n(.*)\n```$", PAGE, re.M)
    stranger = {"version": "0.0.9", "slots": 1}
    # Another database: `manned` may have its workers in the first one by now.
    assert site.env["RESOLVE_REDIS"].endswith("/0")
    env = {**site.env, "RESOLVE_REDIS": site.env["RESOLVE_REDIS"].removesuffix("/0") + "/1"}
    nobody = told(env).replace(f"127.0.0.1:{site.port}/1", "192.0.2.10:6379/0")
    with redis.Redis(port=site.port, db=1, username="admin", password="-") as admin:
        admin.sadd(broker.WORKERS, "stranger")
        admin.set(broker.worker_key("stranger"), json.dumps(stranger))
    other = told(env).replace(f"version {payload.VERSION}:", "version 0.1.0:")
    assert shown == [other, nobody]


def test_five_commands(manned: Site) -> None:
    """The last of them gives each host its result; the Redis refused its user nothing."""
    command = shell("five commands")[4]
    done = subprocess.run(["sh", "-c", command], cwd=manned.directory, env=manned.env, stdin=subprocess.DEVNULL,
                          capture_output=True, text=True, timeout=60, check=False)  # fmt: skip
    assert [0, "", ""] == [done.returncode, done.stdout, done.stderr]
    results = [json.loads(each) for each in (manned.directory / "results.jsonl").read_text().splitlines()]
    assert [(host, "NOERROR") for host in HOSTS] == sorted((each["input"], each["status"]) for each in results)
    assert [] == manned.admin.acl_log()


def test_monitor(manned: Site) -> None:
    """Celery's commands, as shown, hear of both workers."""
    commands = shell("monitor")
    assert 3 == len(commands)
    running = [
        subprocess.Popen([sys.executable, "-m", *shlex.split(each)], env=manned.env, stdout=subprocess.PIPE, text=True)
        for each in commands
    ]
    assert [True] * 3 == ["\n2 nodes online." in process.communicate(timeout=60)[0] for process in running]
    assert [] == manned.admin.acl_log()


def test_flower(manned: Site) -> None:
    """Flower, started as shown but for its port, lists both workers to who knows the password, and nobody else."""
    port = free_port()
    *settings, program = shell("flower")
    # exec: what is ended is Flower, not the shell alone.
    commands = " && ".join([*settings, f"exec {program}"]).replace("FLOWER_PORT=5555", f"FLOWER_PORT={port}")
    page = f"http://127.0.0.1:{port}/workers?json=1"
    with manned.running(f"sh -c {shlex.quote(commands)}"):
        wait_for(lambda: len(_asked(page, b"me:PASSWORD").get("data", [])) == 2, "two workers in Flower")
        assert {"status": 401} == _asked(page, b"you:PASSWORD")


def _asked(url: str, user: bytes) -> dict[str, Any]:
    request = urllib.request.Request(url, headers={"Authorization": f"Basic {base64.b64encode(user).decode()}"})
    try:
        with urllib.request.urlopen(request, timeout=5) as reply:
            found: dict[str, Any] = json.load(reply)
            return found
    except urllib.error.HTTPError as error:
        return {"status": error.code}
    except OSError:
        return {}


@pytest.mark.parametrize(("address", "expected"), [(None, "RESOLVE_REDIS must hold"), ("x", "a Redis address is re")])
def test_monitor_without_a_redis(monkeypatch: pytest.MonkeyPatch, address: str | None, expected: str) -> None:
    """Without an address, or with one that is none, the monitor says what is missing."""
    monkeypatch.delenv("RESOLVE_REDIS", raising=False)
    if address is not None:
        monkeypatch.setenv("RESOLVE_REDIS", address)
    with pytest.raises(SystemExit, match=expected):
        runpy.run_module("resolver.distributed.monitor")


def test_no_wait_names_whom_it_asked(manned: Site) -> None:
    """Where the run names no nameservers, those of the workers were asked."""
    command = manned.directory / "bin" / "resolve"
    done = subprocess.run([command, *HOSTS, "-e", "redis", "--no-wait"], env=manned.env, stdin=subprocess.DEVNULL,
                          capture_output=True, text=True, timeout=60, check=False)  # fmt: skip
    expected = f"{len(HOSTS)} of {len(HOSTS)} queries sent to the workers' own nameservers; no reply was awaited\n"
    assert [0, expected] == [done.returncode, done.stdout]


def test_keys(manned: Site) -> None:
    """Each look at a key is allowed to the user; the names are those that the program uses."""
    name, run = present(manned.admin)[0], "0" * 32
    keys = broker.Keys.of(run)
    client: Any = redis.Redis(port=manned.port, username="resolve", password="PASSWORD")
    expected = {
        f"{broker.PREFIX}{envelope.QUEUE}", f"{broker.PREFIX}unacked", broker.WORKERS, broker.worker_key(name),
        keys.alive, keys.results, "resolve:run:*:alive",
    }  # fmt: skip
    used = set()
    for command in shell("keys"):
        words = shlex.split(command.replace("VERSION", payload.VERSION).replace("NAME", name).replace("RUN", run))
        assert ["redis-cli", "--user", "resolve"] == words[:3]
        client.execute_command(*words[3:])
        used |= {word for word in words[3:] if word.startswith(broker.PREFIX)}
    assert expected == used
    assert {"version", "slots", "chunks", "done"} <= set(json.loads(client.get(broker.worker_key(name))))
    client.close()


def test_options_of_a_worker() -> None:
    """The table has every option of `resolve worker`, and its engines."""
    table = PAGE.partition("### Options of a worker\n")[2].partition("\n## ")[0]
    rows = [each.split("|")[1:3] for each in table.splitlines() if each.startswith("| `")]
    listed = {name for first, _ in rows for name in re.findall(r"`([^`]+)`", first)}
    found = {name for each in cli.commands["worker"].params if isinstance(each, click.Option) for name in each.opts}
    assert {*found, "-h", "--help"} == listed
    (engines,) = [meaning for first, meaning in rows if "--engine" in first]
    assert [each for each in ENGINES if not carries(each)] == re.findall(r"`([^`]+)`", engines)


@pytest.mark.parametrize(
    "claim",
    [
        f"of {chunk_window.FIRST} lookups at first",
        f"about {chunk_window.TARGET:.0f} seconds, {payload.MAX_QUERIES:,} at most.",
        f"for each slot {chunk_window.WINDOW} chunks that are not asked to their end, "
        f"{chunk_window.SHORT_WINDOW} where",
        f"they take less than {({1.0: 'a second'})[chunk_window.SHORT_CHUNK]}, and {chunk_window.MAX_OUT} with those",
        f"{chunk_window.LOOKUPS_PER_SLOT:,} lookups for each slot, or as many as have come back",
        f"as many as have come back, up to {chunk_window.MAX_LOOKUPS_PER_SLOT:,}",
        f"takes {active_chunk.ASKED_PER_SLOT} chunks for each slot",
        f"not been heard of for {broker.DEAD:.0f} seconds",
        f"of {broker.LEASE:.0f} seconds, which its coordinator renews",
        f"has {worker.LEAVE:.0f} seconds to be finished",
        f"again every {engine.NO_WORKER_INTERVAL:.0f} seconds",
        f"or after {engine.START_WAIT:.0f} seconds",
        f"into the queue after {broker.VISIBILITY / 60:.0f} minutes",
        f"that `{SETTING}` names",
    ],
)
def test_figures(claim: str) -> None:
    """What the page counts is what the program counts with."""
    assert claim in PROSE


def test_unit(tmp_path: Path) -> None:
    """The systemd unit starts a command that there is; systemd finds nothing to say about it."""
    text = (EXAMPLES / "resolve-worker.service").read_text(encoding="utf-8")
    unit = configparser.ConfigParser(interpolation=None, delimiters="=")
    unit.optionxform = str  # type: ignore[assignment,method-assign]  # the documented way to keep upper case
    unit.read_string(text)
    program, *words = unit["Service"]["ExecStart"].split()
    assert ["/opt/resolve/bin/resolve", "worker"] == [program, *words]
    assert worker.LEAVE + 2 < float(unit["Service"]["TimeoutStopSec"])
    if shutil.which("systemd-analyze") is not None:
        (tmp_path / "resolve-worker.service").write_text(text.replace(program, sys.executable))
        done = subprocess.run(["systemd-analyze", "verify", tmp_path / "resolve-worker.service"],
                              capture_output=True, text=True, timeout=30, check=False)  # fmt: skip
        assert [0, ""] == [done.returncode, done.stderr]
    _install(tmp_path)


def _install(root: Path) -> None:
    """Put the unit in its place, as the page does, below this directory; systemd finds it there."""
    for each in ("etc/resolve", "etc/systemd/system", "opt/resolve/bin"):
        (root / each).mkdir(parents=True)
    (root / "worker.env").touch()
    (root / "docs").symlink_to(ROOT / "docs")
    *install, enable = [each.replace(" /", f" {root}/") for each in shell("unit")]
    done = [subprocess.run(["sh", "-c", each], cwd=root, check=False).returncode for each in install]
    modes = [
        (root / each).stat().st_mode & 0o777
        for each in ("etc/resolve/worker.env", "etc/systemd/system/resolve-worker.service")
    ]
    assert [[0, 0], [0o600, 0o644]] == [done, modes]
    if shutil.which("systemctl") is not None:
        command = enable.replace("systemctl enable --now", f"systemctl --root={root} enable")
        enabled = subprocess.run(["sh", "-c", command], cwd=root, capture_output=True, text=True, check=False)
        assert 0 == enabled.returncode, enabled.stderr


def test_containerfile() -> None:
    """The container has a Python that will do, installs an extra that there is, and runs a command that there is."""
    text = (EXAMPLES / "Containerfile").read_text(encoding="utf-8")
    steps = [each.split(" ", 1) for each in text.splitlines() if each and not each.startswith("#")]
    build = ["FROM", "COPY", "RUN"]
    assert [*build, "FROM", "RUN", "USER", "STOPSIGNAL", "ENTRYPOINT", "CMD"] == [step for step, _ in steps]
    given = dict(steps)  # of a step that is there twice the last, which is the image's
    setup = configparser.ConfigParser()
    setup.read(ROOT / "setup.cfg", encoding="utf-8")
    assert "65534:65534" == given["USER"]  # nobody, who may do nothing
    (version,) = {version for version in re.findall(r"python:([\d.]+)", text)}
    assert f">={version}" == setup["options"]["python_requires"]
    assert re.findall(r"\[(\w+)\]\"$", given["RUN"])[0] in setup["options.extras_require"]
    assert ["resolve", "worker"] == [*json.loads(given["ENTRYPOINT"]), *json.loads(given["CMD"])]
    assert "worker" in cli.commands
