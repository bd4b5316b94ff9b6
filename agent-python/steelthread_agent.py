#!/usr/bin/env python3
"""
The Steelthread agent in one file: Python 3.8 or newer, nothing but its standard library.

It speaks protocol version 1 (docs/reference/agent-protocol.md) over one outbound WebSocket, and keeps the same home
directory, journal and kill rule as the JavaScript agent, so either may take over the other's home.

  lock home -> open journal -> recover -> connect -> ... -> drain -> disconnect -> close journal -> release home

Threads: the main thread owns all state (`Agent`) and takes events from one queue; a thread per connection moves bytes
of the socket; a few threads per command read its output and wait for its end. They only post events, except that
output goes straight into its spool (which has a lock).

Invariants (letters A to E are the protocol's):
  A   The digest of an act is computed again before INTENT; a mismatch is rejected.
  B   INTENT is on the medium before the process starts; a known id never starts again.
  C   Output has offsets; the server's word on the next offset is final.
  D   A result is sent when all its output is acked, and again until it is acked itself.
  E   A frame of an unknown type is answered by name and is not fatal.
  J1  What `Journal.append` returned from survives kill -9; what `flush` returned from survives loss of power.
  K1  Kill rule: TERM and CONT to every process of a command, after the grace KILL until two searches find nobody and
      could look at everybody: who ended before being looked at may have left a child that was not listed yet.
  K2  A pid is signalled only while it has the start time it had when it was found.
  R   A command of an earlier process without RESULT is killed, then reported as unknown; it never starts again.
  X1  `rejected` means that no process was started.
"""

import argparse
import base64
import binascii
import collections
import concurrent.futures
import datetime
import errno
import hashlib
import heapq
import itertools
import json
import os
import platform
import queue
import random
import re
import select
import selectors
import shutil
import signal
import socket
import ssl
import subprocess
import sys
import tempfile
import threading
import time
import urllib.error
import urllib.parse
import urllib.request
import uuid
import zlib

AGENT_VERSION = "0.1.0-python"
PROTOCOL_VERSION = 1

# Protocol limits.
MAX_FRAME_BYTES = 1024 * 1024
OUTPUT_CHUNK_BYTES = 64 * 1024
OUTPUT_WINDOW_BYTES = 512 * 1024
PING_INTERVAL_MS = 30_000
NO_DIGEST = "0" * 64
MAX_REASON_LENGTH = 1024

# Limits of an act.
MAX_SCRIPT_BYTES = 120 * 1024
MAX_ARGV_ITEMS = 1024
MAX_STDIN_BYTES = 256 * 1024
MAX_ENVIRONMENT_ENTRIES = 128
MAX_ENVIRONMENT_VALUE_BYTES = 32 * 1024
MAX_EXPIRY_MS = 30 * 24 * 60 * 60 * 1000
SHELL_NAMES = ("sh", "bash", "pwsh", "powershell", "cmd")

# This agent.
DEFAULT_MAX_PARALLEL = 16
MAX_MAX_PARALLEL = 1000
DRAIN_DEADLINE_MS = 20_000
FINAL_ACK_DEADLINE_MS = 3_000
CLOSE_DEADLINE_MS = 1_000
WELCOME_DEADLINE_MS = 30_000
ENROL_DEADLINE_S = 15
STABLE_AFTER_MS = 10_000
MAX_MISSED_PONGS = 2
SEND_HIGH_WATER_BYTES = 1024 * 1024
SWEEP_INTERVAL_MS = 1_000
ANNOUNCE_AFTER_MS = 250
RESEND_STALL_MS = 10_000
SPILL_AFTER_MS = 200
SPOOL_MEMORY_BYTES = 64 * 1024
PIPE_GRACE_MS = 500
SUDO_DEADLINE_S = 5
KILL_GRACE_MS = 3_000
KILL_DEADLINE_MS = 15_000
KILL_SEARCH_INTERVAL_S = 0.025
# Where other processes come and go all the time, searches that found nobody count after this long.
MAX_UNSURE_MS = 1_000
LAZY_FLUSH_MS = 1_000
KEPT_ID_AGE_MS = 7 * 24 * 60 * 60 * 1000
KEPT_ID_COUNT = 100_000
COMPACTION_GARBAGE_RECORDS = 10_000
LOCK_ATTEMPTS = 10
MAX_DISKS = 16
# The main thread looks up at least this often: on Windows a blocked wait does not hear of Ctrl+C.
MAX_WAIT_S = 1.0
# A flood of events does not keep timers (the time limits of commands among them) waiting for longer than these.
MAX_EVENTS_PER_TURN = 500

COMMAND_ID_VARIABLE = "STEELTHREAD_COMMAND_ID"
DEFAULT_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
ON_WINDOWS = os.name == "nt"
ON_LINUX = sys.platform.startswith("linux")
STREAM_NAMES = ("stdout", "stderr")

DEFAULT_BACKOFF = {"baseMs": 500, "capMs": 30_000, "refusedMs": 60_000, "supersededMs": 60_000}
CLOSE_POLICY, CLOSE_SUPERSEDED, CLOSE_REVOKED = 1008, 4001, 4004


def now_ms():
    """Milliseconds of the monotonic clock."""
    return time.monotonic() * 1000.0


def wall_ms():
    """Milliseconds since the epoch."""
    return int(time.time() * 1000)


def iso_now():
    moment = datetime.datetime.now(datetime.timezone.utc)
    return moment.strftime("%Y-%m-%dT%H:%M:%S.") + "%03dZ" % (moment.microsecond // 1000)


def compact_json(value):
    # Escaped to ASCII, so that a lone surrogate that somebody sent does not stop us from answering.
    return json.dumps(value, separators=(",", ":"))


def _no_constant(name):
    raise ValueError("not JSON: " + name)


def parse_json(text):
    """Strict JSON: NaN and Infinity are refused. Raises ValueError."""
    try:
        return json.loads(text, parse_constant=_no_constant)
    except RecursionError:
        raise ValueError("nested too deeply") from None


class Log:
    """One JSON line per event on standard error. Never command text, output or secrets."""

    def __init__(self, debug=False):
        self.is_debug = debug

    def _write(self, level, event, fields):
        line = {"time": iso_now(), "level": level, "event": event}
        line.update(fields)
        try:
            sys.stderr.write(json.dumps(line) + "\n")
            sys.stderr.flush()
        except (OSError, ValueError):
            pass  # Nobody reads the log any more; that is no reason to stop.

    def debug(self, event, **fields):
        if self.is_debug:
            self._write("debug", event, fields)

    def info(self, event, **fields):
        self._write("info", event, fields)

    def warn(self, event, **fields):
        self._write("warn", event, fields)

    def error(self, event, **fields):
        self._write("error", event, fields)


# --- Acts ------------------------------------------------------------------------------------------------------------


class Malformed(Exception):
    """A frame or act with a shape this version cannot read."""


def _check(condition, what):
    if not condition:
        raise Malformed(what)


def _is_int(value):
    return isinstance(value, int) and not isinstance(value, bool)


def _as_int(value, low, high, what):
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    _check(_is_int(value) and low <= value <= high, what)
    return value


def _as_text(value, max_bytes, what, least=0):
    """Text that can be passed to a process: no NUL, no lone surrogate."""
    _check(isinstance(value, str) and "\0" not in value, what)
    try:
        size = len(value.encode("utf-8"))
    except UnicodeEncodeError:
        raise Malformed(what) from None
    _check(least <= size <= max_bytes, what)
    return value


ENVIRONMENT_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,127}\Z")
SHARED_ACT_FIELDS = {
    "mode",
    "stdin",
    "workingDirectory",
    "environment",
    "user",
    "elevated",
    "timeoutMs",
    "outputCapBytes",
    "expiryMs",
}


def parse_act(value):
    """Check an act as contracts/act.ts does. Raises Malformed."""
    _check(isinstance(value, dict), "act")
    mode = value.get("mode")
    _check(mode in ("shell", "argv"), "act.mode")
    own = {"shell", "script"} if mode == "shell" else {"argv"}
    _check(set(value) == SHARED_ACT_FIELDS | own, "act: unknown or missing fields")
    act = {"mode": mode}
    if mode == "shell":
        _check(value["shell"] in SHELL_NAMES, "act.shell")
        act["shell"] = value["shell"]
        act["script"] = _as_text(value["script"], MAX_SCRIPT_BYTES, "act.script")
        _check(act["script"].strip() != "", "act.script")
    else:
        argv = value["argv"]
        _check(isinstance(argv, list) and 1 <= len(argv) <= MAX_ARGV_ITEMS, "act.argv")
        act["argv"] = [_as_text(item, MAX_SCRIPT_BYTES, "act.argv") for item in argv]
        _check(act["argv"][0] != "", "act.argv")
    act["stdin"] = None
    if value["stdin"] is not None:
        act["stdin"] = decode_base64(value["stdin"], "act.stdin")
        _check(len(act["stdin"]) <= MAX_STDIN_BYTES + 2, "act.stdin")
    directory = value["workingDirectory"]
    act["workingDirectory"] = None if directory is None else _as_text(directory, 4096, "act.workingDirectory", 1)
    environment = value["environment"]
    _check(isinstance(environment, dict) and len(environment) <= MAX_ENVIRONMENT_ENTRIES, "act.environment")
    _check(COMMAND_ID_VARIABLE not in environment, "act.environment")
    for name, text in environment.items():
        _check(ENVIRONMENT_NAME.match(name), "act.environment")
        _as_text(text, MAX_ENVIRONMENT_VALUE_BYTES, "act.environment")
    act["environment"] = environment
    user = value["user"]
    act["user"] = None if user is None else _as_text(user, 256, "act.user", 1)
    _check(isinstance(value["elevated"], bool), "act.elevated")
    act["elevated"] = value["elevated"]
    act["timeoutMs"] = _as_int(value["timeoutMs"], 100, 24 * 60 * 60 * 1000, "act.timeoutMs")
    act["outputCapBytes"] = _as_int(value["outputCapBytes"], 0, 1024 * 1024 * 1024, "act.outputCapBytes")
    act["expiryMs"] = _as_int(value["expiryMs"], 1000, MAX_EXPIRY_MS, "act.expiryMs")
    return act


def decode_base64(text, what):
    _check(isinstance(text, str), what)
    try:
        return base64.b64decode(text.encode("ascii"), validate=True)
    except (binascii.Error, ValueError):
        raise Malformed(what) from None


def act_digest(act, binding):
    """sha256 (hex) over length-prefixed fields in a fixed order; the same as contracts/act.ts."""
    digest = hashlib.sha256()

    def put(value):
        if value is None:
            digest.update(b"\0")
            return
        if isinstance(value, bool):
            value = "true" if value else "false"
        data = value if isinstance(value, bytes) else str(value).encode("utf-8")
        digest.update(b"\1" + len(data).to_bytes(4, "big") + data)

    put("steelthread/act")
    put(1)
    put(binding["taskRun"])
    put(binding["step"])
    put(binding["proposalId"])
    put(act["mode"])
    if act["mode"] == "shell":
        put(act["shell"])
        put(act["script"])
    else:
        put(len(act["argv"]))
        for item in act["argv"]:
            put(item)
    put(act["stdin"])
    put(act["workingDirectory"])
    names = sorted(act["environment"])
    put(len(names))
    for name in names:
        put(name)
        put(act["environment"][name])
    put(act["user"])
    put(act["elevated"])
    put(act["timeoutMs"])
    put(act["outputCapBytes"])
    put(act["expiryMs"])
    return digest.hexdigest()


# --- Frames of the server --------------------------------------------------------------------------------------------

UUID_TEXT = re.compile(r"[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}\Z")
DIGEST_TEXT = re.compile(r"[0-9a-f]{64}\Z")
AGENT_ID_TEXT = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:-]{0,127}\Z")
SERVER_FRAME_TYPES = (
    "welcome",
    "run",
    "cancel",
    "outputAck",
    "resultAck",
    "presenceRequest",
    "claimRefused",
    "error",
)
MAX_SAFE_INTEGER = 2**53 - 1


def _is_match(pattern, value):
    return isinstance(value, str) and pattern.match(value) is not None


def parse_server_frame(text):
    """
    A frame as a dict (with `act` parsed), or raises. KeyError(type): a type this side does not know.
    Malformed: not JSON, no type, or a wrong shape.
    """
    try:
        frame = parse_json(text)
    except ValueError:
        raise Malformed("the frame is not JSON") from None
    kind = frame.get("type") if isinstance(frame, dict) else None
    _check(isinstance(kind, str), "the frame has no type")
    if kind not in SERVER_FRAME_TYPES:
        raise KeyError(kind[:64])
    if kind == "welcome":
        frame["protocol"] = _as_int(frame.get("protocol"), 0, MAX_SAFE_INTEGER, "welcome.protocol")
        frame["epoch"] = _as_int(frame.get("epoch"), 0, MAX_SAFE_INTEGER, "welcome.epoch")
        interval = frame.get("presenceIntervalMs")
        frame["presenceIntervalMs"] = _as_int(interval, 0, MAX_SAFE_INTEGER, "welcome.presenceIntervalMs")
        _check(isinstance(frame.get("agentId"), str), "welcome.agentId")
        _check(isinstance(frame.get("serverVersion"), str), "welcome.serverVersion")
        _check(isinstance(frame.get("resetJournal"), bool), "welcome.resetJournal")
    elif kind == "error":
        _check(isinstance(frame.get("code"), str) and isinstance(frame.get("message"), str), "error")
    elif kind != "presenceRequest":
        _check(_is_match(UUID_TEXT, frame.get("commandId")), kind + ".commandId")
    if kind == "run":
        _check(_is_match(DIGEST_TEXT, frame.get("digest")), "run.digest")
        _check(isinstance(frame.get("resume"), bool), "run.resume")
        frame["startWithinMs"] = _as_int(frame.get("startWithinMs"), 0, MAX_SAFE_INTEGER, "run.startWithinMs")
        offsets = frame.get("offsets")
        _check(isinstance(offsets, dict), "run.offsets")
        frame["offsets"] = {name: _as_int(offsets.get(name), 0, MAX_SAFE_INTEGER, "run.offsets") for name in STREAM_NAMES}
        binding = frame.get("binding")
        _check(isinstance(binding, dict), "run.binding")
        frame["binding"] = {
            "taskRun": _as_text(binding.get("taskRun"), 1024, "run.binding"),
            "step": _as_int(binding.get("step"), 0, MAX_SAFE_INTEGER, "run.binding"),
            "proposalId": _as_text(binding.get("proposalId"), 1024, "run.binding"),
        }
        frame["act"] = parse_act(frame.get("act"))
    elif kind == "cancel":
        reason = frame.get("reason")
        _check(isinstance(reason, str) and len(reason) <= MAX_REASON_LENGTH, "cancel.reason")
    elif kind == "outputAck":
        _check(frame.get("stream") in STREAM_NAMES, "outputAck.stream")
        frame["nextOffset"] = _as_int(frame.get("nextOffset"), 0, MAX_SAFE_INTEGER, "outputAck.nextOffset")
    return frame


# --- Processes -------------------------------------------------------------------------------------------------------

ProcessInfo = collections.namedtuple("ProcessInfo", "pid state group session start_time")


def _read_bytes(path):
    try:
        with open(path, "rb") as file:
            return file.read()
    except OSError:
        return None


def read_boot_id():
    text = _read_bytes("/proc/sys/kernel/random/boot_id")
    return None if text is None else text.decode("ascii", "replace").strip()


def read_process(pid):
    """Facts of one process, or None when it is gone (or there is no /proc)."""
    stat = _read_bytes("/proc/%d/stat" % pid)
    if stat is None:
        return None
    # The name in parentheses may hold spaces and parentheses: the fields follow the last one.
    fields = stat.decode("latin-1").rpartition(")")[2].split()
    if len(fields) < 20:
        return None
    # "Z" of more than one thread: the first has ended and others run on.
    state = "S" if fields[0] == "Z" and int(fields[17]) > 1 else fields[0]
    return ProcessInfo(pid, state, int(fields[2]), int(fields[3]), fields[19])


def list_pids():
    try:
        return [int(name) for name in os.listdir("/proc") if name.isdigit()]
    except OSError:
        return []


def find_environment_entry(pid, entry):
    """
    Whether the environment the process was started with holds this NAME=value. None: there is none to read, because it is
    gone, becomes another program right now, or is of the kernel.
    """
    try:
        with open("/proc/%d/environ" % pid, "rb") as file:
            environment = file.read()
    except PermissionError:
        return False  # Of a user whose processes are none of ours to read, or hidden by hidepid=1.
    except OSError:
        return None
    if not environment:
        return None
    return (b"\0" + environment).find(b"\0" + entry + b"\0") >= 0


def is_alive(pid, start_time):
    """True when this very process (not another with its pid) lives. start_time None means any with that pid."""
    info = read_process(pid)
    if info is not None:
        return info.state not in "ZX" and (start_time is None or info.start_time == start_time)
    if ON_LINUX or ON_WINDOWS:
        return False
    try:
        os.kill(pid, 0)
        return True
    except OSError:
        return False


def windows_start_time(pid):
    """When the process was created, as the system counts it, or None. With the pid its identity on Windows."""
    import ctypes
    from ctypes import wintypes

    query_limited_information = 0x1000
    kernel = ctypes.WinDLL("kernel32", use_last_error=True)
    kernel.OpenProcess.restype = wintypes.HANDLE
    kernel.OpenProcess.argtypes = [wintypes.DWORD, wintypes.BOOL, wintypes.DWORD]
    kernel.GetProcessTimes.argtypes = [wintypes.HANDLE] + [ctypes.POINTER(wintypes.FILETIME)] * 4
    kernel.CloseHandle.argtypes = [wintypes.HANDLE]
    handle = kernel.OpenProcess(query_limited_information, False, pid)
    if not handle:
        return None
    try:
        times = [wintypes.FILETIME() for _ in range(4)]
        if not kernel.GetProcessTimes(handle, *[ctypes.byref(moment) for moment in times]):
            return None
        return str((times[0].dwHighDateTime << 32) | times[0].dwLowDateTime)
    finally:
        kernel.CloseHandle(handle)


class CommandCgroups:
    """A cgroup (version 2) per command, where this process may make one: the one tree that nothing can leave."""

    def __init__(self, base):
        self.base = base
        self.close()

    @staticmethod
    def probe(home):
        """Cgroups named after the agent's home, or None when none with `cgroup.kill` can be made."""
        own = _own_cgroup() if ON_LINUX else None
        if own is None:
            return None
        name = hashlib.sha256(home.encode("utf-8", "surrogateescape")).hexdigest()[:16]
        base = os.path.join(own, "steelthread-" + name)
        try:
            os.makedirs(base, exist_ok=True)
            if not os.path.exists(os.path.join(base, "cgroup.kill")):
                os.rmdir(base)
                return None
        except OSError:
            return None
        return CommandCgroups(base)

    def _path(self, command_id, *names):
        return os.path.join(self.base, command_id, *names)

    def create(self, command_id):
        """The file that takes pids, or None."""
        try:
            os.makedirs(self._path(command_id), exist_ok=True)
            return self._path(command_id, "cgroup.procs")
        except OSError:
            return None

    def pids(self, command_id):
        text = _read_bytes(self._path(command_id, "cgroup.procs"))
        return [] if text is None else [int(pid) for pid in text.split()]

    def kill(self, command_id):
        try:
            with open(self._path(command_id, "cgroup.kill"), "w") as file:
                file.write("1")
        except OSError:
            pass

    def remove(self, command_id):
        try:
            os.rmdir(self._path(command_id))
        except OSError:
            pass

    def close(self):
        """Remove all empty ones."""
        try:
            for entry in os.scandir(self.base):
                if entry.is_dir():
                    self.remove(entry.name)
            os.rmdir(self.base)
        except OSError:
            pass


def _own_cgroup():
    """Directory of this process's own cgroup in the unified hierarchy, or None."""
    mounts, membership = _read_bytes("/proc/self/mountinfo"), _read_bytes("/proc/self/cgroup")
    if mounts is None or membership is None:
        return None
    own = next((line[3:] for line in membership.decode().splitlines() if line.startswith("0::")), None)
    for line in mounts.decode("utf-8", "surrogateescape").splitlines():
        fields = line.split(" ")
        if "-" not in fields or fields[fields.index("-") + 1] != "cgroup2" or own is None:
            continue
        root, mount_point = fields[3], fields[4]
        # Inside a container the mount may show only a part of the hierarchy, whose root is `root`.
        relative = own[len(root):] if root != "/" and own.startswith(root) else own
        return os.path.join(mount_point, relative.lstrip("/"))
    return None


KillTarget = collections.namedtuple("KillTarget", "command_id pid process_start")


class ProcessSearch:
    """Searches for the processes of a command: its cgroup, its process group, and whoever carries its id."""

    def __init__(self, target, cgroups):
        self._target = target
        self._cgroups = cgroups
        self._entry = ("%s=%s" % (COMMAND_ID_VARIABLE, target.command_id)).encode()
        # Dead ones that nobody waits for, and those of the kernel: a child of theirs was listed by the search after.
        self._known = set()

    def run(self):
        """(processes that live now, whether nobody was listed who could not be looked at)."""
        before, self._known = self._known, set()
        members = set(self._cgroups.pids(self._target.command_id)) if self._cgroups else set()
        group, start = self._target.pid, self._target.process_start
        leader = None if group is None else read_process(group)
        # A leader with another start time is a stranger with a reused pid, and so is its group.
        if leader is not None and start is not None and leader.start_time != start:
            group = None
        found, is_sure = [], True
        strangers = (os.getpid(), os.getppid())
        for pid in list_pids():
            if pid in strangers:
                continue
            info = read_process(pid)
            if info is None:
                # Gone, or hidden from us for good.
                is_sure = is_sure and find_environment_entry(pid, self._entry) is False
                continue
            carries = None
            if info.state not in "ZX":
                in_group = group is not None and info.group == group and info.session == group
                carries = in_group or pid in members or find_environment_entry(pid, self._entry)
            if carries:
                found.append(info)
            elif carries is None:
                identity = (pid, info.start_time, info.state in "ZX")
                self._known.add(identity)
                is_sure = is_sure and identity in before
        return found, is_sure


def _signal_all(processes, numbers):
    for info in processes:
        if not is_alive(info.pid, info.start_time):
            continue
        for number in numbers:
            try:
                os.kill(info.pid, number)
            except OSError:
                pass  # Gone meanwhile, or not ours to signal: the next search tells.


def kill_command(target, cgroups, grace_ms=KILL_GRACE_MS, deadline_ms=KILL_DEADLINE_MS):
    """End all processes of a command (K1). Returns the number of survivors, 0 when it is certain that none is left."""
    if ON_LINUX:
        return _kill_on_linux(target, cgroups, grace_ms, deadline_ms)
    if target.pid is None:
        return 0
    if ON_WINDOWS:
        if target.process_start is None:
            return 1  # Whose pid it is cannot be told.
        if windows_start_time(target.pid) != target.process_start:
            return 0  # Gone; the pid may be a stranger's.
        call = subprocess.run(
            ["taskkill", "/T", "/F", "/PID", str(target.pid)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        return 0 if call.returncode in (0, 128) else 1  # 128: there is no such process.
    return _kill_group(target.pid, grace_ms, deadline_ms)


def _kill_on_linux(target, cgroups, grace_ms, deadline_ms):
    start = now_ms()
    search = ProcessSearch(target, cgroups)
    living, is_sure = search.run()
    warned = set()
    while living and now_ms() - start < grace_ms:
        fresh = [info for info in living if (info.pid, info.start_time) not in warned]
        _signal_all(fresh, (signal.SIGTERM, signal.SIGCONT))
        warned.update((info.pid, info.start_time) for info in fresh)
        time.sleep(KILL_SEARCH_INTERVAL_S)
        living, is_sure = search.run()
    empty_searches = 0 if living or not is_sure else 1
    unsure_end = now_ms() + MAX_UNSURE_MS
    while empty_searches < 2 and now_ms() - start < deadline_ms:
        if living:
            if cgroups:
                cgroups.kill(target.command_id)
            _signal_all(living, (signal.SIGKILL,))
        # A storm of forks is outrun without a pause; killed processes need a moment to go.
        time.sleep(0.001 if empty_searches else 0.005)
        living, is_sure = search.run()
        if living:
            unsure_end = now_ms() + MAX_UNSURE_MS
        is_empty = not living and (is_sure or now_ms() > unsure_end)
        empty_searches = empty_searches + 1 if is_empty else 0
    if cgroups:
        cgroups.remove(target.command_id)
    return len(living)


def _kill_group(pid, grace_ms, deadline_ms):
    def send(number):
        try:
            os.killpg(pid, number)
            return True
        except OSError:
            return False

    start = now_ms()
    send(signal.SIGTERM)
    while send(0) and now_ms() - start < grace_ms:
        time.sleep(KILL_SEARCH_INTERVAL_S)
    while send(0) and now_ms() - start < deadline_ms:
        send(signal.SIGKILL)
        time.sleep(KILL_SEARCH_INTERVAL_S)
    return 1 if send(0) else 0


# --- Home ------------------------------------------------------------------------------------------------------------


class StartError(Exception):
    """The agent cannot start, and the message says why."""


class HomeLock:
    """At most one live process holds `<home>/lock`. A lock whose process is gone is set aside and replaced."""

    def __init__(self, home):
        self.path = os.path.join(home, "lock")
        for name in ("", "spool", "pipes", "work"):
            os.makedirs(os.path.join(home, name), mode=0o700, exist_ok=True)
        self._handle = None
        if ON_WINDOWS:
            self._lock_on_windows()
            return
        # Commands run as another user must be able to pass through to `work`; the files beside it are 0600.
        os.chmod(home, 0o711)
        os.chmod(os.path.join(home, "work"), 0o755)
        info = read_process(os.getpid())
        facts = {
            "pid": os.getpid(),
            "startTime": None if info is None else info.start_time,
            "bootId": read_boot_id(),
        }
        self.content = compact_json(facts).encode()
        own = "%s.%d.%s" % (self.path, os.getpid(), uuid.uuid4().hex)
        _write_private(own, self.content)
        try:
            for _ in range(LOCK_ATTEMPTS):
                try:
                    os.link(own, self.path)  # Fails when the name exists.
                    return
                except FileExistsError:
                    self._set_stale_aside(own + ".stale")
        finally:
            os.unlink(own)
        raise StartError("the agent home %s is being taken by another process" % home)

    def _lock_on_windows(self):
        import msvcrt

        self._handle = open(self.path, "a+b")
        try:
            self._handle.seek(0)
            msvcrt.locking(self._handle.fileno(), msvcrt.LK_NBLCK, 1)
        except OSError:
            raise StartError(_taken("")) from None

    def _set_stale_aside(self, aside):
        content = _read_bytes(self.path)
        if content is None:
            return
        if not _is_stale(content):
            raise StartError(_taken(content.decode("utf-8", "replace")))
        try:
            os.rename(self.path, aside)
            # Between the look and the move another process may have replaced the stale lock: give it back.
            moved = _read_bytes(aside)
            if moved is not None and not _is_stale(moved):
                os.link(aside, self.path)
            os.unlink(aside)
        except OSError:
            pass  # Someone else moved it first; the next attempt sees who.

    def release(self):
        try:
            if self._handle is not None:
                self._handle.close()
                os.unlink(self.path)
            elif _read_bytes(self.path) == self.content:
                os.unlink(self.path)
        except OSError:
            pass  # Gone already.


def _taken(content):
    return "another agent uses this home: %s (STEELTHREAD_AGENT_HOME names another directory)" % content


def _is_stale(content):
    try:
        lock = parse_json(content.decode())
        pid, start_time, boot_id = lock["pid"], lock["startTime"], lock["bootId"]
    except (ValueError, KeyError, TypeError):
        return True
    return not _is_int(pid) or boot_id != read_boot_id() or not is_alive(pid, start_time)


def _write_private(path, content):
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(content)


def read_identity(home):
    """(agent id, token) of an earlier enrolment, or None. Raises ValueError when the file is damaged."""
    content = _read_bytes(os.path.join(home, "agent.json"))
    if content is None:
        return None
    value = parse_json(content.decode())
    if not isinstance(value, dict):
        raise ValueError("not an object")
    agent_id, token = value.get("agentId"), value.get("agentToken")
    if not (isinstance(agent_id, str) and agent_id and isinstance(token, str) and token):
        raise ValueError("agentId or agentToken is missing")
    return agent_id, token


def write_identity(home, agent_id, token):
    os.makedirs(home, mode=0o700, exist_ok=True)
    path = os.path.join(home, "agent.json")
    _write_private(path + ".new", (json.dumps({"agentId": agent_id, "agentToken": token}, indent=2) + "\n").encode())
    os.replace(path + ".new", path)


# --- Journal ---------------------------------------------------------------------------------------------------------


def sync_file(descriptor):
    """Data of the file on the medium, past the disk's own cache where the system offers that."""
    if sys.platform == "darwin":
        import fcntl

        fcntl.fcntl(descriptor, fcntl.F_FULLFSYNC)
    elif hasattr(os, "fdatasync"):
        os.fdatasync(descriptor)
    else:
        os.fsync(descriptor)


def sync_directory(path):
    if ON_WINDOWS:
        return
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write_all(descriptor, data):
    view = memoryview(data)
    while view:
        view = view[os.write(descriptor, view):]


def encode_record(record):
    text = compact_json(record).encode("utf-8")
    return b"%08x %s\n" % (zlib.crc32(text), text)


def decode_journal(data):
    """(records, valid bytes): reading stops at the first line that is not whole."""
    records = []
    start = 0
    while True:
        end = data.find(b"\n", start)
        if end < 0:
            break
        line = data[start:end]
        if line[8:9] != b" " or b"%08x" % zlib.crc32(line[9:]) != line[:8]:
            break
        records.append(parse_json(line[9:].decode("utf-8")))
        start = end + 1
    return records, start


class JournalFailure(Exception):
    """The journal cannot be written; nothing may start."""


class Journal:
    """
    INTENT -> STARTED -> RESULT -> ACKED, one checksummed line each. Entries are dicts:
    {commandId, digest, at, phase: intent|started|finished|acked, start?, result?, output?}.
    `seq` counts records on the medium; it falls only when the medium lost some.
    """

    def __init__(self, home):
        self.path = os.path.join(home, "journal.log")
        self.entries = {}
        data = b""
        if os.path.exists(self.path):
            with open(self.path, "rb") as file:
                data = file.read()
        records, valid_bytes = decode_journal(data)
        self._open()
        if valid_bytes < len(data):
            os.ftruncate(self._descriptor, valid_bytes)
        sync_file(self._descriptor)
        sync_directory(home)
        self._broken = None
        self._appended = self._durable = len(records)
        for record in records:
            self._apply(record)
        head = records[0] if records and records[0]["t"] == "head" else None
        self.journal_id = str(uuid.uuid4()) if head is None else head["journalId"]
        self._seq_offset = 0 if head is None else head["seq"] - head["snapshot"] - 1
        self._in_file = len(records)
        self._acked = sum(1 for entry in self.entries.values() if entry["phase"] == "acked")
        if head is None:
            self._rewrite(self.journal_id)

    def _open(self):
        flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | getattr(os, "O_BINARY", 0)
        self._descriptor = os.open(self.path, flags, 0o600)

    def _apply(self, record):
        kind = record["t"]
        if kind == "head":
            return
        command_id, at = record["id"], record["at"]
        before = self.entries.get(command_id)
        if kind == "intent":
            self.entries[command_id] = {"commandId": command_id, "at": at, "digest": record["digest"], "phase": "intent"}
        elif kind == "started" and before is not None:
            self.entries[command_id] = dict(before, at=at, phase="started", start=record["start"])
        elif kind == "result":
            result = record["result"]
            self.entries[command_id] = {
                "commandId": command_id,
                "at": at,
                "digest": result["digest"],
                "phase": "finished",
                "result": result,
                "output": record["output"],
            }
        elif kind == "acked" and before is not None and before["phase"] == "finished":
            # Deleted first so that acked entries stand in the order of their acks: the oldest goes first.
            del self.entries[command_id]
            self._put_acked(command_id, at, before["result"], before["digest"])
        elif kind == "done":
            self._put_acked(command_id, at, record["result"], record["result"]["digest"])

    def _put_acked(self, command_id, at, result, digest):
        self.entries[command_id] = {
            "commandId": command_id,
            "at": at,
            "digest": digest,
            "phase": "acked",
            "result": result,
        }

    def _snapshot(self):
        for command_id, entry in self.entries.items():
            if entry["phase"] == "acked":
                yield {"t": "done", "id": command_id, "at": entry["at"], "result": entry["result"]}
            elif entry["phase"] == "finished":
                yield {
                    "t": "result",
                    "id": command_id,
                    "at": entry["at"],
                    "result": entry["result"],
                    "output": entry["output"],
                }
            else:
                yield {"t": "intent", "id": command_id, "at": entry["at"], "digest": entry["digest"]}
                if entry["phase"] == "started":
                    yield {"t": "started", "id": command_id, "at": entry["at"], "start": entry["start"]}

    def _fail(self, error):
        self._broken = self._broken or JournalFailure("the journal cannot be written: %s" % error)
        return self._broken

    def _rewrite(self, next_id):
        self._forget_old()
        snapshot = list(self._snapshot())
        # A rewrite makes every append durable, so the count it stores is that of all appends.
        seq = max(0, self._seq_offset + self._appended) if next_id == self.journal_id else 0
        head = {"t": "head", "journalId": next_id, "seq": seq, "snapshot": len(snapshot)}
        try:
            temporary = self.path + ".new"
            descriptor = os.open(
                temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | getattr(os, "O_BINARY", 0), 0o600
            )
            try:
                write_all(descriptor, b"".join(encode_record(record) for record in [head] + snapshot))
                sync_file(descriptor)
            finally:
                os.close(descriptor)
            if ON_WINDOWS:
                os.close(self._descriptor)  # An open file cannot be replaced there.
                os.replace(temporary, self.path)
                self._open()
            else:
                os.replace(temporary, self.path)
                sync_directory(os.path.dirname(self.path))
                old = self._descriptor
                self._open()
                os.close(old)
        except OSError as error:
            raise self._fail(error) from None
        self._durable = self._appended
        self.journal_id = next_id
        self._seq_offset = seq - self._durable
        self._in_file = len(snapshot) + 1

    def _forget_old(self):
        oldest = wall_ms() - KEPT_ID_AGE_MS
        for command_id, entry in list(self.entries.items()):
            if entry["phase"] != "acked":
                continue
            if self._acked <= KEPT_ID_COUNT and entry["at"] >= oldest:
                break
            del self.entries[command_id]
            self._acked -= 1

    def _append(self, record):
        if self._broken is not None:
            raise self._broken
        try:
            write_all(self._descriptor, encode_record(record))
        except OSError as error:
            # A torn line in the middle would hide what follows it: nothing more goes in until a restart.
            raise self._fail(error) from None
        self._appended += 1
        self._in_file += 1
        self._apply(record)

    @property
    def seq(self):
        return max(0, self._seq_offset + self._durable)

    @property
    def needs_flush(self):
        return self._durable < self._appended and self._broken is None

    def find(self, command_id):
        return self.entries.get(command_id)

    def intent(self, command_id, digest):
        self._append({"t": "intent", "id": command_id, "at": wall_ms(), "digest": digest})

    def started(self, command_id, start):
        self._append({"t": "started", "id": command_id, "at": wall_ms(), "start": start})

    def finished(self, result, output):
        record = {"t": "result", "id": result["commandId"], "at": wall_ms(), "result": result, "output": output}
        self._append(record)

    def acked(self, command_id):
        entry = self.entries.get(command_id)
        if entry is None or entry["phase"] != "finished":
            return
        self._append({"t": "acked", "id": command_id, "at": wall_ms()})
        self._acked += 1
        if self._acked > KEPT_ID_COUNT * 1.1:
            self._forget_old()
        garbage = self._in_file - len(self.entries)
        if garbage >= COMPACTION_GARBAGE_RECORDS and garbage >= len(self.entries):
            self._rewrite(self.journal_id)

    def flush(self):
        """On return everything appended so far is on the medium. Raises JournalFailure."""
        if self._broken is not None:
            raise self._broken
        if self._durable == self._appended:
            return
        try:
            sync_file(self._descriptor)
        except OSError as error:
            raise self._fail(error) from None
        self._durable = self._appended

    def reset(self):
        """Begin a new journal id. All ids stay known."""
        self._rewrite(str(uuid.uuid4()))

    def close(self):
        try:
            if self._broken is None:
                sync_file(self._descriptor)
            os.close(self._descriptor)
        except OSError:
            pass
        self._broken = self._broken or JournalFailure("the journal is closed")


# --- Output ----------------------------------------------------------------------------------------------------------

EMPTY_SHA256 = hashlib.sha256().hexdigest()
EMPTY_SUMMARY = {"bytes": 0, "totalBytes": 0, "sha256": EMPTY_SHA256, "truncated": False}


class Spool:
    """
    The kept bytes of one output stream: the first `cap_bytes` exactly, later ones only counted. In memory while small;
    in a file when large or when the command runs on. When the disk refuses, the summary says truncated.
    """

    def __init__(self, path, cap_bytes):
        self._path = path
        self._cap = cap_bytes
        self._lock = threading.Lock()
        self._memory = bytearray()
        self._file = None
        self._size = 0
        self._total = 0
        self._hash = hashlib.sha256()
        self._refused = False
        self.disk_error = None

    @staticmethod
    def restore(path, saved):
        """What an earlier process left: its file, or the bytes saved with the result. Both may be missing."""
        spool = Spool(path, MAX_SAFE_INTEGER)
        # Bytes are saved where they are in memory only: a file beside them is what a failed spill left.
        if not saved and os.path.exists(path):
            spool._file = open(path, "r+b")
            for block in iter(lambda: spool._file.read(1024 * 1024), b""):
                spool._hash.update(block)
                spool._size += len(block)
        elif saved:
            spool._memory = bytearray(base64.b64decode(saved))
            spool._size = len(spool._memory)
            spool._hash.update(spool._memory)
        spool._total = spool._size
        return spool

    def append(self, data):
        with self._lock:
            self._total += len(data)
            if self._refused:
                return
            kept = data[: max(0, self._cap - self._size)]
            if not kept:
                return
            if self._file is None and self._size + len(kept) > SPOOL_MEMORY_BYTES:
                if not self._open_file():
                    return
            try:
                if self._file is None:
                    self._memory += kept
                else:
                    self._write(kept)
            except OSError as error:
                self._refuse(error)
                return
            self._size += len(kept)
            self._hash.update(kept)

    def _write(self, data):
        # Unbuffered by flush: kill -9 of this process loses nothing of it.
        self._file.seek(0, os.SEEK_END)
        self._file.write(data)
        self._file.flush()

    def _refuse(self, error):
        self._refused = True
        self.disk_error = str(error)

    def _open_file(self):
        try:
            descriptor = os.open(
                self._path, os.O_RDWR | os.O_CREAT | os.O_TRUNC | getattr(os, "O_BINARY", 0), 0o600
            )
            self._file = os.fdopen(descriptor, "r+b")
            self._write(bytes(self._memory))
        except OSError as error:
            # What is in memory stays there, still readable.
            if self._file is not None:
                try:
                    self._file.close()
                except OSError:
                    pass
                self._file = None
                self._unlink()
            self._refuse(error)
            return False
        self._memory = bytearray()
        return True

    def spill(self):
        with self._lock:
            if self._file is None and self._size > 0 and not self._refused:
                self._open_file()

    def size(self):
        with self._lock:
            return self._size

    def read(self, offset, max_bytes):
        with self._lock:
            length = max(0, min(max_bytes, self._size - offset))
            if length == 0:
                return b""
            if self._file is None:
                return bytes(self._memory[offset: offset + length])
            self._file.seek(offset)
            return self._file.read(length)

    def summary(self):
        with self._lock:
            return {
                "bytes": self._size,
                "totalBytes": self._total,
                "sha256": self._hash.hexdigest(),
                "truncated": self._total > self._size,
            }

    def memory_base64(self):
        with self._lock:
            if self._file is not None or self._size == 0:
                return None
            return base64.b64encode(self._memory).decode("ascii")

    def close(self, discard=False):
        with self._lock:
            had_file = self._file is not None
            if had_file:
                self._file.close()
            self._file = None
            self._memory = bytearray()
            self._size = 0
            if discard and had_file:
                self._unlink()

    def _unlink(self):
        try:
            os.unlink(self._path)
        except OSError:
            pass  # Deleted from outside.


class OutboundStream:
    """
    Sends a spool in order of offset, at most OUTPUT_WINDOW_BYTES past the last ack. An ack that makes no progress means
    that a chunk was refused: sending goes on from there; of several such acks only the first rewinds.
    """

    def __init__(self, link, spool, command_id, stream):
        self.spool = spool
        self._link = link
        self._command_id = command_id
        self._stream = stream
        self._acked = 0
        self._sent = 0
        self._rewound_to = -1
        self._moved_at = now_ms()

    def pump(self):
        size = self.spool.size()
        while self._sent < size and self._link.has_room():
            room = self._acked + OUTPUT_WINDOW_BYTES - self._sent
            if room <= 0:
                return
            data = self.spool.read(self._sent, min(OUTPUT_CHUNK_BYTES, room))
            if not data:
                return
            if self._sent == self._acked:
                self._moved_at = now_ms()
            frame = {
                "type": "output",
                "commandId": self._command_id,
                "stream": self._stream,
                "offset": self._sent,
                "bytes": base64.b64encode(data).decode("ascii"),
            }
            if not self._link.send(frame):
                return
            self._sent += len(data)

    def _rewind(self, offset):
        self._acked = self._sent = self._rewound_to = min(offset, self.spool.size())
        self._moved_at = now_ms()
        self.pump()

    def ack(self, next_offset):
        if self._acked < next_offset <= self._sent:
            self._acked = next_offset
            self._moved_at = now_ms()
            self.pump()
            return
        if next_offset == self._sent:
            return
        if next_offset == self._rewound_to and now_ms() - self._moved_at < RESEND_STALL_MS:
            return
        self._rewind(next_offset)

    def restart(self, next_offset):
        self._rewind(self._acked if next_offset is None else next_offset)
        self._rewound_to = -1  # A new socket: the first refusal on it counts.

    def is_delivered(self):
        return self._acked >= self.spool.size()

    def resend_when_stalled(self, moment):
        if self._acked < self.spool.size() and moment - self._moved_at >= RESEND_STALL_MS:
            self._rewind(self._acked)


# --- The machine -----------------------------------------------------------------------------------------------------

SystemUser = collections.namedtuple("SystemUser", "name uid gid home shell")


def find_user(name):
    """A user of /etc/passwd by name (or decimal uid), or None. Directory services are not asked."""
    content = _read_bytes("/etc/passwd")
    for line in (content or b"").decode("utf-8", "surrogateescape").splitlines():
        fields = line.split(":")
        if len(fields) >= 7 and name in (fields[0], fields[2]):
            return SystemUser(fields[0], int(fields[2]), int(fields[3]), fields[5] or "/", fields[6] or "/bin/sh")
    return None


def find_program(name, search_path):
    """Full path of a program on this search path, or None."""
    suffixes = (".exe", ".cmd", "") if ON_WINDOWS else ("",)
    for directory in search_path.split(os.pathsep):
        for suffix in suffixes:
            path = os.path.join(directory, name + suffix)
            if directory and os.path.isfile(path) and os.access(path, os.X_OK):
                return path
    return None


def find_shells(search_path):
    """Shells of this machine with their paths, best first."""
    order = ("pwsh", "powershell", "cmd", "bash", "sh") if ON_WINDOWS else ("bash", "sh", "pwsh")
    found = ((name, find_program(name, search_path)) for name in order)
    return {name: path for name, path in found if path is not None}


def find_capabilities(shells, cgroups):
    capabilities = ["argv", "metrics"]
    if shells:
        capabilities.append("shell")
    if cgroups is not None:
        capabilities.append("cgroup")
    if ON_WINDOWS:
        return capabilities
    is_root = os.geteuid() == 0
    if is_root:
        capabilities.append("run-as")
    if is_root or _can_sudo():
        capabilities.append("elevate")
    return capabilities


def _can_sudo():
    try:
        call = subprocess.run(
            ["sudo", "-n", "true"],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            timeout=SUDO_DEADLINE_S,
        )
        return call.returncode == 0
    except (OSError, subprocess.SubprocessError):
        return False


INHERITED_NAMES = (
    ("PATH", "PATHEXT", "SystemRoot", "SystemDrive", "ComSpec", "TEMP", "TMP", "USERPROFILE", "USERNAME", "TZ")
    if ON_WINDOWS
    else ("PATH", "LANG", "TZ", "TMPDIR")
)


def command_environment(command_id, act, user, own):
    """The clean environment of a command: a few names from the agent, the act's own, and the mark of the kill rule."""
    environment = {name: own[name] for name in INHERITED_NAMES if name in own}
    if not ON_WINDOWS:
        import pwd

        try:
            login = pwd.getpwuid(os.getuid())
            login_name, login_home, login_shell = login.pw_name, login.pw_dir, login.pw_shell
        except KeyError:
            login_name, login_home, login_shell = str(os.getuid()), "/", ""
        environment.setdefault("PATH", DEFAULT_PATH)
        environment.setdefault("LANG", "C.UTF-8")
        environment.setdefault("TMPDIR", tempfile.gettempdir())
        environment["HOME"] = user.home if user else own.get("HOME") or login_home
        environment["USER"] = user.name if user else login_name
        environment["LOGNAME"] = environment["USER"]
        environment["SHELL"] = (user.shell if user else login_shell) or "/bin/sh"
    environment.update(act["environment"])
    environment[COMMAND_ID_VARIABLE] = command_id
    return environment


def _cpu_times():
    content = _read_bytes("/proc/stat")
    if content is None:
        return None
    fields = [int(field) for field in content.split(b"\n", 1)[0].split()[1:9]]
    total = sum(fields)
    idle = fields[3] + (fields[4] if len(fields) > 4 else 0)
    return total - idle, total


class MetricsReader:
    """Host metrics for presence frames. What a system does not tell is None or empty."""

    def __init__(self):
        self._before = _cpu_times()

    def read(self):
        total, used = self._memory()
        received, sent = self._network()
        pids = len(list_pids())
        try:
            load = os.getloadavg()[0]
        except (OSError, AttributeError):
            load = None
        uptime = _read_bytes("/proc/uptime")
        return {
            "cpuPercent": self._cpu(),
            "loadAverage": load,
            "memoryTotalBytes": total,
            "memoryUsedBytes": used,
            "disks": self._disks(),
            "networkReceivedBytes": received,
            "networkSentBytes": sent,
            "processCount": pids or None,
            "uptimeSeconds": None if uptime is None else round(float(uptime.split()[0])),
        }

    def _cpu(self):
        before, self._before = self._before, _cpu_times()
        if before is None or self._before is None or self._before[1] <= before[1]:
            return None
        busy, total = self._before[0] - before[0], self._before[1] - before[1]
        return round(max(0.0, busy / total) * 100, 1)

    @staticmethod
    def _memory():
        facts = {}
        for line in (_read_bytes("/proc/meminfo") or b"").decode().splitlines():
            name, _, rest = line.partition(":")
            facts[name] = int(rest.split()[0]) * 1024
        total, available = facts.get("MemTotal"), facts.get("MemAvailable", facts.get("MemFree"))
        return total, None if total is None or available is None else total - available

    @staticmethod
    def _network():
        content = _read_bytes("/proc/net/dev")
        if content is None:
            return None, None
        received = sent = 0
        for line in content.decode().splitlines()[2:]:
            name, _, rest = line.partition(":")
            fields = rest.split()
            if name.strip() != "lo" and len(fields) > 8:
                received, sent = received + int(fields[0]), sent + int(fields[8])
        return received, sent

    @staticmethod
    def _disks():
        mounts = {}
        for line in (_read_bytes("/proc/mounts") or b"").decode("utf-8", "replace").splitlines():
            device, mount = (line.split(" ") + [""])[:2]
            is_local = device.startswith("/dev/") and not device.startswith("/dev/loop")
            if is_local or mount == "/":
                mounts.setdefault(device, mount.replace("\\040", " "))
        disks = []
        for mount in list(mounts.values())[:MAX_DISKS] or ["C:\\" if ON_WINDOWS else "/"]:
            try:
                usage = shutil.disk_usage(mount)
            except OSError:
                continue
            disks.append({"mount": mount[:512], "totalBytes": usage.total, "usedBytes": usage.total - usage.free})
        return disks


# --- Executor --------------------------------------------------------------------------------------------------------


class Rejected(Exception):
    """The command was not started (X1); the message is the reason."""


SHELL_ARGUMENTS = {
    "sh": ["-c"],
    "bash": ["-c"],
    "pwsh": ["-NoProfile", "-NonInteractive", "-Command"],
    "powershell": ["-NoProfile", "-NonInteractive", "-Command"],
    "cmd": ["/d", "/s", "/c"],
}
SPAWN_REASONS = {
    errno.ENOENT: "program_not_found",
    errno.EACCES: "permission_denied",
    errno.E2BIG: "arguments_too_long",
    errno.EAGAIN: "out_of_processes",
    errno.EMFILE: "out_of_file_descriptors",
}


def _native(text):
    """What an act says is UTF-8; what came from this process's environment or file names may be other bytes."""
    return text.encode("utf-8", "surrogateescape")


def spawn_reason(error):
    return SPAWN_REASONS.get(error.errno, "spawn_failed: %s" % errno.errorcode.get(error.errno or 0, "unknown"))


class Executor:
    """Starts the process of a command, feeds it, reads it and ends it."""

    def __init__(self, home, work_dir, shells, capabilities, cgroups, own_environment, kill_options):
        self.home = home
        self.work_dir = work_dir or os.path.join(home, "work")
        self.shells = shells
        self.capabilities = capabilities
        self.cgroups = cgroups
        self.own_environment = own_environment
        self.kill_options = kill_options

    def start(self, command_id, act, spools, on_output, on_end):
        """A running Job. `on_output()` and `on_end(facts)` are called from other threads. Raises Rejected."""
        args, environment, directory, user = self._plan(command_id, act)
        program = args[0]
        if not re.search(r"[/\\]", program):
            program = find_program(program, environment.get("PATH", ""))
            if program is None:
                raise Rejected("program_not_found")
        procs_file = self.cgroups.create(command_id) if self.cgroups else None
        # Only for shell acts: their program is known to exist, so `exec` cannot fail where a spawn would have (X1).
        enters_itself = procs_file is not None and act["mode"] == "shell" and user is None and "sh" in self.shells
        if enters_itself:
            # A shell moves itself into the cgroup before it becomes the command: nothing it forks is outside.
            entering = '{ echo 0 > "$0"; } 2> /dev/null; exec "$@"'
            args = [self.shells["sh"], "-c", entering, procs_file, program] + args[1:]
            program = args[0]
        try:
            process, pipes = self._spawn(command_id, act, args, program, environment, directory, user)
        except OSError as error:
            if self.cgroups:
                self.cgroups.remove(command_id)
            raise Rejected(spawn_reason(error)) from None
        except ValueError:
            # The C library cannot express it (an embedded NUL): no process was made.
            if self.cgroups:
                self.cgroups.remove(command_id)
            raise Rejected("spawn_failed: invalid_argument") from None
        if procs_file is not None and not enters_itself:
            try:
                with open(procs_file, "w") as file:
                    file.write(str(process.pid))
            except OSError:
                pass  # Without it the kill rule still has group and environment.
        return Job(self, command_id, process, pipes, spools, on_output, on_end)

    def _plan(self, command_id, act):
        user = None
        if act["user"] is not None:
            user = None if ON_WINDOWS else find_user(act["user"])
            if user is None:
                raise Rejected("user_not_found")
            if user.uid == os.getuid():
                user = None
            elif "run-as" not in self.capabilities:
                raise Rejected("run_as_not_available")
        if act["elevated"] and "elevate" not in self.capabilities:
            raise Rejected("elevation_not_available")
        if act["mode"] == "argv":
            args = list(act["argv"])
        else:
            shell = self.shells.get(act["shell"])
            if shell is None:
                raise Rejected("shell_not_found")
            args = [shell] + SHELL_ARGUMENTS[act["shell"]] + [act["script"]]
        directory = act["workingDirectory"] or (user.home if user else self.work_dir)
        if not os.path.isdir(directory):
            raise Rejected("working_directory_not_found")
        environment = command_environment(command_id, act, user, self.own_environment)
        if act["elevated"] and os.geteuid() != 0:
            # sudo clears the environment, so `env` sets it again behind it.
            pairs = ["%s=%s" % pair for pair in environment.items()]
            args = ["sudo", "-n", "--", "/usr/bin/env"] + pairs + args
        return args, environment, directory, user

    def _spawn(self, command_id, act, args, program, environment, directory, user):
        opened = []
        kept = []
        try:
            stdin = subprocess.DEVNULL
            if act["stdin"] is not None:
                stdin = self._open_input(command_id, act["stdin"])
                opened.append(stdin)
            writers = []
            for _ in STREAM_NAMES:
                reader, writer = os.pipe()
                kept.append(reader)
                opened.append(writer)
                writers.append(writer)
                # A child that runs as another user may reopen /dev/stderr only if the pipe is its own.
                if user is not None:
                    os.fchown(writer, user.uid, user.gid)
            options = {"start_new_session": True}
            command = args
            if ON_WINDOWS:
                options = {"creationflags": subprocess.CREATE_NEW_PROCESS_GROUP | subprocess.CREATE_NO_WINDOW}
                if act["mode"] == "shell" and act["shell"] == "cmd":
                    # cmd.exe parses its own command line: no quoting but the outer one.
                    command = '"%s" /d /s /c "%s"' % (program, act["script"])
            elif user is not None and sys.version_info >= (3, 9):
                options.update(user=user.uid, group=user.gid, extra_groups=[])
            elif user is not None:

                def become():
                    os.setgroups([])
                    os.setgid(user.gid)
                    os.setuid(user.uid)

                options["preexec_fn"] = become
            if not ON_WINDOWS:
                # The bytes of the act whatever the locale of this process says.
                command, program, directory = [_native(arg) for arg in args], _native(program), _native(directory)
                environment = {_native(name): _native(value) for name, value in environment.items()}
            process = subprocess.Popen(
                command,
                executable=program,
                cwd=directory,
                env=environment,
                stdin=stdin,
                stdout=writers[0],
                stderr=writers[1],
                **options
            )
            pipes, kept = kept, []
            return process, pipes
        finally:
            for descriptor in opened + kept:
                os.close(descriptor)

    def _open_input(self, command_id, data):
        """Standard input as an unlinked file, so that it can be reopened as /dev/stdin."""
        path = os.path.join(self.home, "spool", command_id + ".stdin")
        with open(path, "wb") as file:
            file.write(data)
        os.chmod(path, 0o644)
        descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_BINARY", 0))
        if not ON_WINDOWS:
            os.unlink(path)
        return descriptor

    def kill_leftovers(self, command_id, pid, process_start):
        return kill_command(KillTarget(command_id, pid, process_start), self.cgroups, *self.kill_options)


class Job:
    """
    A running command. After a normal end background children are left alone: their pipes are read for PIPE_GRACE_MS.
    After `stop` nothing of the command is left running, or the reason says how many are.
    """

    def __init__(self, executor, command_id, process, pipes, spools, on_output, on_end):
        self.pid = process.pid
        info = read_process(process.pid)
        self.process_start = None if info is None else info.start_time
        if ON_WINDOWS:
            self.process_start = windows_start_time(process.pid)
        self._executor = executor
        self._command_id = command_id
        self._process = process
        self._pipes = dict(zip(STREAM_NAMES, pipes))
        self._spools = spools
        self._on_output = on_output
        self._on_end = on_end
        self._lock = threading.Lock()
        self._stopped = None
        self._has_exited = threading.Event()
        self._killed = threading.Event()
        self._survivors = 0
        if ON_WINDOWS:
            self._readers = [self._thread(self._read_blocking, name) for name in STREAM_NAMES]
        else:
            self._wake_reader, self._wake_writer = os.pipe()
            self._readers = [self._thread(self._read_selecting)]
        self._thread(self._wait)

    @staticmethod
    def _thread(target, *args):
        thread = threading.Thread(target=target, args=args, daemon=True)
        thread.start()
        return thread

    def _wait(self):
        self._process.wait()
        self._finish()

    def stop(self, outcome, reason):
        with self._lock:
            if self._stopped is not None or self._has_exited.is_set():
                return
            self._stopped = (outcome, reason)
        self._thread(self._kill)

    def _kill(self):
        try:
            self._survivors = self._executor.kill_leftovers(self._command_id, self.pid, self.process_start)
        except Exception:  # Whatever went wrong, it is not certain that nobody is left.
            self._survivors = 1
        self._killed.set()
        if self._survivors > 0:
            # A main process that cannot be killed (another user's, or stuck in the kernel) never reports its exit.
            self._finish()

    def _finish(self):
        with self._lock:
            if self._has_exited.is_set():
                return
            self._has_exited.set()
            stopped = self._stopped
        if stopped is not None:
            self._killed.wait()
        if not ON_WINDOWS:
            os.write(self._wake_writer, b"x")
        for reader in self._readers:
            reader.join(PIPE_GRACE_MS / 1000.0 if ON_WINDOWS else None)
        if not ON_WINDOWS:
            os.close(self._wake_writer)
            os.close(self._wake_reader)
        if self._executor.cgroups:
            self._executor.cgroups.remove(self._command_id)
        self._on_end(self._facts(stopped))

    def _facts(self, stopped):
        code = self._process.returncode
        exit_code, signal_name = code, None
        if code is not None and code < 0:
            exit_code = None
            try:
                signal_name = signal.Signals(-code).name
            except ValueError:
                signal_name = "SIG%d" % -code
        facts = {"exitCode": exit_code, "signal": signal_name}
        if stopped is not None:
            rest = "; %d process(es) survived the kill" % self._survivors if self._survivors else ""
            return dict(facts, outcome=stopped[0], reason=stopped[1] + rest)
        if code == 0:
            return dict(facts, outcome="succeeded", reason=None)
        return dict(facts, outcome="failed", reason="exit_code" if signal_name is None else "signal")

    def _take(self, name, data):
        self._spools[name].append(data)
        self._on_output()

    def _read_blocking(self, name):
        while True:
            try:
                data = os.read(self._pipes[name], OUTPUT_CHUNK_BYTES)
            except OSError:
                return
            if not data:
                os.close(self._pipes[name])
                return
            self._take(name, data)

    def _read_selecting(self):
        open_pipes = {descriptor: name for name, descriptor in self._pipes.items()}
        for descriptor in open_pipes:
            os.set_blocking(descriptor, False)
        watch = select.poll()
        for descriptor in list(open_pipes) + [self._wake_reader]:
            watch.register(descriptor, select.POLLIN)
        deadline = None
        while open_pipes:
            timeout = None if deadline is None else max(0, deadline - now_ms())
            ready = watch.poll(timeout)
            for descriptor, _ in ready:
                if descriptor == self._wake_reader:
                    watch.unregister(descriptor)
                    deadline = now_ms() + PIPE_GRACE_MS
                elif descriptor in open_pipes and self._read_available(descriptor, open_pipes[descriptor]):
                    watch.unregister(descriptor)
                    os.close(descriptor)
                    del open_pipes[descriptor]
            if deadline is not None and now_ms() >= deadline:
                break
        for descriptor, name in open_pipes.items():
            # Once more: on a busy machine the time may be over before waiting bytes were read.
            self._read_available(descriptor, name)
            os.close(descriptor)

    def _read_available(self, descriptor, name):
        """One chunk, if there is any. True at the end of the stream."""
        try:
            data = os.read(descriptor, OUTPUT_CHUNK_BYTES)
        except BlockingIOError:
            return False
        except OSError:
            return True
        if data:
            self._take(name, data)
        return not data


# --- WebSocket (RFC 6455) --------------------------------------------------------------------------------------------


class ProtocolError(Exception):
    def __init__(self, code, text):
        super().__init__(text)
        self.code = code


OPCODE_CONTINUATION, OPCODE_TEXT, OPCODE_BINARY = 0x0, 0x1, 0x2
OPCODE_CLOSE, OPCODE_PING, OPCODE_PONG = 0x8, 0x9, 0xA
ACCEPT_GUID = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
MAX_HANDSHAKE_BYTES = 64 * 1024


def encode_ws_frame(opcode, payload):
    """One final, masked frame of a client."""
    size = len(payload)
    if size < 126:
        head = bytes([0x80 | opcode, 0x80 | size])
    elif size < 65536:
        head = bytes([0x80 | opcode, 0x80 | 126]) + size.to_bytes(2, "big")
    else:
        head = bytes([0x80 | opcode, 0x80 | 127]) + size.to_bytes(8, "big")
    mask = os.urandom(4)
    if size == 0:
        return head + mask
    # One exclusive-or of two big numbers is far faster than a loop over bytes.
    pattern = (mask * (size // 4 + 1))[:size]
    masked = int.from_bytes(payload, "big") ^ int.from_bytes(pattern, "big")
    return head + mask + masked.to_bytes(size, "big")


class FrameReader:
    """Bytes of a server in, messages out: (opcode, payload) of whole texts, binaries and control frames."""

    def __init__(self, max_bytes=MAX_FRAME_BYTES):
        self._max = max_bytes
        self._buffer = bytearray()
        self._opcode = None
        self._parts = []
        self._size = 0

    def feed(self, data):
        self._buffer += data
        messages = []
        while True:
            frame = self._next()
            if frame is None:
                return messages
            message = self._message(*frame)
            if message is not None:
                messages.append(message)

    def _next(self):
        buffer = self._buffer
        if len(buffer) < 2:
            return None
        is_final, opcode, size = bool(buffer[0] & 0x80), buffer[0] & 0x0F, buffer[1] & 0x7F
        if buffer[0] & 0x70:
            raise ProtocolError(1002, "reserved bits")
        if buffer[1] & 0x80:
            raise ProtocolError(1002, "a masked frame from the server")
        start = 2
        if size == 126 or size == 127:
            start = 4 if size == 126 else 10
            if len(buffer) < start:
                return None
            size = int.from_bytes(buffer[2:start], "big")
        if opcode >= 0x8 and (size > 125 or not is_final):
            raise ProtocolError(1002, "a control frame too long or in parts")
        if size > self._max:
            raise ProtocolError(1009, "a frame too large")
        if len(buffer) < start + size:
            return None
        payload = bytes(buffer[start: start + size])
        del buffer[: start + size]
        return is_final, opcode, payload

    def _message(self, is_final, opcode, payload):
        if opcode in (OPCODE_CLOSE, OPCODE_PING, OPCODE_PONG):
            return opcode, payload
        if opcode in (OPCODE_TEXT, OPCODE_BINARY):
            if self._opcode is not None:
                raise ProtocolError(1002, "a new message inside another")
            self._opcode, self._parts, self._size = opcode, [], 0
        elif opcode != OPCODE_CONTINUATION:
            raise ProtocolError(1002, "an unknown opcode")
        elif self._opcode is None:
            raise ProtocolError(1002, "a continuation of nothing")
        self._parts.append(payload)
        self._size += len(payload)
        if self._size > self._max:
            raise ProtocolError(1009, "a message too large")
        if not is_final:
            return None
        message = (self._opcode, b"".join(self._parts))
        self._opcode, self._parts = None, []
        return message


class Refused(Exception):
    def __init__(self, status):
        super().__init__("HTTP %d" % status)
        self.status = status


class WebSocketClient:
    """
    One connection, in a thread of its own. Posts (name, self, …): ('open',), ('text', text or None), ('room',) and at
    the end exactly one ('closed', code, reason, cause), where cause is 'refused', 'unreachable' or None.
    One thread does both directions: a TLS object must not be used by two threads at once.
    """

    def __init__(self, url, token, post, deadline_s):
        self._url = urllib.parse.urlsplit(url)
        self._token = token
        self._post = post
        self._deadline_s = deadline_s
        self._lock = threading.Lock()
        self._out = bytearray()
        self._was_full = False
        self._is_ended = False
        self._close_sent_at = None
        self._abort = False
        self._socket = None
        self.missed_pongs = 0
        self._wake_reader, self._wake_writer = socket.socketpair()
        self._wake_reader.setblocking(False)
        self._wake_writer.setblocking(False)
        threading.Thread(target=self._run, daemon=True).start()

    # Called from the main thread.

    def send_text(self, text):
        """False when the connection has ended or ends."""
        return self._send(OPCODE_TEXT, text.encode("utf-8"))

    def ping(self):
        self.missed_pongs += 1
        self._send(OPCODE_PING, b"")

    def has_room(self):
        return not self._was_full

    def close(self, code, reason):
        self._begin_close(code, reason)
        self._wake()

    def terminate(self):
        self._abort = True
        self._wake()

    def _send(self, opcode, payload):
        frame = encode_ws_frame(opcode, payload)
        with self._lock:
            if self._is_ended or self._close_sent_at is not None:
                return False
            was_empty = not self._out
            self._out += frame
            if len(self._out) > SEND_HIGH_WATER_BYTES:
                self._was_full = True
        if was_empty:
            self._wake()
        return True

    def _begin_close(self, code, reason):
        payload = code.to_bytes(2, "big") + reason.encode("utf-8")[:120]
        with self._lock:
            if self._is_ended or self._close_sent_at is not None:
                return
            self._out += encode_ws_frame(OPCODE_CLOSE, payload)
            self._close_sent_at = now_ms()

    def _wake(self):
        try:
            self._wake_writer.send(b"x")
        except OSError:
            pass  # Full: it is awake already. Closed: nothing to wake.

    # The connection's thread.

    def _run(self):
        code, reason, cause = 1006, "", None
        try:
            rest = self._connect()
            self._post(("open", self))
            code, reason = self._exchange(rest)
        except Refused as error:
            reason, cause = str(error), "refused" if error.status in (401, 403) else "unreachable"
        except ProtocolError as error:
            code, reason = error.code, str(error)
        except (OSError, ValueError) as error:
            reason, cause = "%s: %s" % (type(error).__name__, error), "unreachable"
        finally:
            with self._lock:
                self._is_ended = True
                self._out = bytearray()
            for each in (self._socket, self._wake_reader, self._wake_writer):
                try:
                    if each is not None:
                        each.close()
                except OSError:
                    pass
            self._post(("closed", self, code, reason, cause))

    def _connect(self):
        """TCP, TLS and the upgrade, within the deadline. Returns bytes that came behind the answer."""
        end = time.monotonic() + self._deadline_s
        is_tls = self._url.scheme == "wss"
        host, port = self._url.hostname, self._url.port or (443 if is_tls else 80)
        self._socket = socket.create_connection((host, port), timeout=self._deadline_s)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if is_tls:
            self._socket = ssl.create_default_context().wrap_socket(self._socket, server_hostname=host)
        key = base64.b64encode(os.urandom(16)).decode("ascii")
        literal = "[%s]" % host if ":" in host else host
        is_usual = port == (443 if is_tls else 80)
        request = [
            "GET %s HTTP/1.1" % (self._url.path or "/"),
            "Host: %s" % (literal if is_usual else "%s:%d" % (literal, port)),
            "Upgrade: websocket",
            "Connection: Upgrade",
            "Sec-WebSocket-Key: %s" % key,
            "Sec-WebSocket-Version: 13",
            "Authorization: Bearer %s" % self._token,
        ]
        self._socket.sendall(("\r\n".join(request) + "\r\n\r\n").encode("latin-1"))
        data = b""
        while b"\r\n\r\n" not in data:
            if self._abort:
                raise OSError("closed")
            left = end - time.monotonic()
            if left <= 0 or len(data) > MAX_HANDSHAKE_BYTES:
                raise OSError("no answer to the upgrade")
            self._socket.settimeout(left)
            more = self._socket.recv(4096)
            if not more:
                raise OSError("the connection ended during the upgrade")
            data += more
        head, _, rest = data.partition(b"\r\n\r\n")
        self._check_answer(head.decode("latin-1"), key)
        return rest

    @staticmethod
    def _check_answer(head, key):
        lines = head.split("\r\n")
        match = re.match(r"HTTP/1\.[01] (\d{3})", lines[0])
        if match is None:
            raise ProtocolError(1002, "not an HTTP answer")
        if match.group(1) != "101":
            raise Refused(int(match.group(1)))
        headers = {}
        for line in lines[1:]:
            name, _, value = line.partition(":")
            headers[name.strip().lower()] = value.strip()
        expected = base64.b64encode(hashlib.sha1((key + ACCEPT_GUID).encode()).digest()).decode("ascii")
        is_upgrade = headers.get("upgrade", "").lower() == "websocket"
        if not is_upgrade or headers.get("sec-websocket-accept") != expected:
            raise ProtocolError(1002, "not an answer to this upgrade")
        if headers.get("sec-websocket-extensions") or headers.get("sec-websocket-protocol"):
            raise ProtocolError(1002, "an extension nobody asked for")

    def _exchange(self, rest):
        """Move bytes until the connection ends. Returns (close code, reason)."""
        self._socket.setblocking(False)
        reader = FrameReader()
        selector = selectors.DefaultSelector()
        selector.register(self._wake_reader, selectors.EVENT_READ)
        selector.register(self._socket, selectors.EVENT_READ)
        waits_for_write = False
        try:
            ended = self._handle(reader.feed(rest))
            while ended is None:
                wish = selectors.EVENT_READ | (selectors.EVENT_WRITE if waits_for_write else 0)
                selector.modify(self._socket, wish)
                closing_at = self._close_sent_at
                timeout = None
                if closing_at is not None:
                    timeout = max(0.0, closing_at + CLOSE_DEADLINE_MS - now_ms()) / 1000.0
                    if timeout == 0.0:
                        return 1006, "no answer to the close"
                selector.select(timeout)
                if self._abort:
                    return 1006, "terminated"
                self._drain_wake()
                data, is_over = self._read()
                ended = self._handle(reader.feed(data))
                if ended is None and is_over:
                    return 1006, "the connection ended"
                waits_for_write = self._write()
            self._write()
            return ended
        except ProtocolError as error:
            self._begin_close(error.code, str(error))
            self._write()
            raise
        finally:
            selector.close()

    def _drain_wake(self):
        try:
            while self._wake_reader.recv(4096):
                pass
        except OSError:
            pass

    def _read(self):
        """(bytes, is the connection over)."""
        chunks = []
        for _ in range(16):
            try:
                data = self._socket.recv(65536)
            except (BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError):
                return b"".join(chunks), False
            if not data:
                return b"".join(chunks), True
            chunks.append(data)
        if isinstance(self._socket, ssl.SSLSocket) and self._socket.pending():
            self._wake()  # Decrypted bytes do not make the socket readable.
        return b"".join(chunks), False

    def _write(self):
        """True when bytes are left that wait for the socket to become writable."""
        while True:
            with self._lock:
                chunk = bytes(self._out[:65536])
            if not chunk:
                break
            try:
                sent = self._socket.send(chunk)
            except (BlockingIOError, ssl.SSLWantWriteError):
                return True
            except ssl.SSLWantReadError:
                return False  # Goes on when the peer's bytes have come.
            with self._lock:
                del self._out[:sent]
                has_drained = self._was_full and len(self._out) <= SEND_HIGH_WATER_BYTES // 2
                if has_drained:
                    self._was_full = False
            if has_drained:
                self._post(("room", self))
        return False

    def _handle(self, messages):
        """(code, reason) after a close frame, else None."""
        for opcode, payload in messages:
            self.missed_pongs = 0
            if opcode == OPCODE_CLOSE:
                code = int.from_bytes(payload[:2], "big") if len(payload) >= 2 else 1005
                self._begin_close(code if len(payload) >= 2 else 1000, "")
                return code, payload[2:].decode("utf-8", "replace")
            if opcode == OPCODE_PING:
                self._send(OPCODE_PONG, payload)
            elif opcode == OPCODE_TEXT:
                try:
                    self._post(("text", self, payload.decode("utf-8")))
                except UnicodeDecodeError:
                    raise ProtocolError(1007, "text that is not UTF-8") from None
            elif opcode == OPCODE_BINARY:
                self._post(("text", self, ""))
        return None


def agent_socket_url(base):
    """Address of the agent endpoint below the server's base URL."""
    url = urllib.parse.urlsplit(base)
    scheme = "wss" if url.scheme in ("https", "wss") else "ws"
    return urllib.parse.urlunsplit((scheme, url.netloc, url.path.rstrip("/") + "/v1/agent", "", ""))


def backoff_delay_ms(attempt, cause, limits, rand=random.random):
    """Milliseconds to wait: full jitter, so that a fleet does not return as one."""
    if cause in ("refused", CLOSE_POLICY, CLOSE_REVOKED):
        return round(limits["refusedMs"] * (1 + rand()))
    if cause == CLOSE_SUPERSEDED:
        return round(limits["supersededMs"] * (1 + rand()))
    return round(min(limits["capMs"], limits["baseMs"] * 2 ** min(attempt, 20)) * rand())


# --- The agent -------------------------------------------------------------------------------------------------------


class Command:
    """A command from its run frame until the server has stored its result. state: queued, starting, running, finished."""

    def __init__(self, command_id, digest, state):
        self.command_id = command_id
        self.digest = digest
        self.state = state
        self.act = None
        self.start_before = 0.0
        self.cancel_reason = None
        self.streams = None
        self.started = None
        self.job = None
        self.since = 0.0
        self.result = None
        self.sent_at = None
        self.timer = None


class Timer:
    def __init__(self, at, act):
        self.at = at
        self.act = act

    def cancel(self):
        self.act = None


class Options:
    """What an agent is made of. `environment` is what commands inherit a few names from."""

    def __init__(self, url, agent_id, token, home, **more):
        self.url = url
        self.agent_id = agent_id
        self.token = token
        self.home = home
        self.name = more.pop("name", None)
        self.work_dir = more.pop("work_dir", None)
        self.max_parallel = more.pop("max_parallel", DEFAULT_MAX_PARALLEL)
        self.drain_ms = more.pop("drain_ms", DRAIN_DEADLINE_MS)
        self.metrics = more.pop("metrics", True)
        self.cgroups = more.pop("cgroups", "auto")
        self.kill = more.pop("kill", (KILL_GRACE_MS, KILL_DEADLINE_MS))
        self.backoff = dict(DEFAULT_BACKOFF, **more.pop("backoff", {}))
        self.ping_interval_ms = more.pop("ping_interval_ms", PING_INTERVAL_MS)
        self.environment = more.pop("environment", dict(os.environ))
        self.log = more.pop("log", None) or Log()
        if more:
            raise TypeError("unknown options: %s" % ", ".join(more))


class Agent:
    """All state of one agent; every method runs on the thread that called `run`, but for `post`."""

    def __init__(self, options):
        self.options = options
        self.log = options.log
        self._events = queue.SimpleQueue()
        self._timers = []
        self._timer_numbers = itertools.count()
        self._live = {}
        self._queue = collections.deque()
        self._to_start = []
        self._active = 0
        self._unannounced = set()
        self._announce_timer = None
        self._sweep_timer = None
        self._presence_timer = None
        self._lazy_flush = None
        self._socket = None
        self._socket_state = "waiting"
        self._open_since = 0.0
        self._attempt = 0
        self._returns_at_once = False
        self._welcome_timer = None
        self._ping_timer = None
        self._reconnect_timer = None
        self._phase = "running"
        self._drain_timer = None
        self._final_timer = None
        self._metrics = MetricsReader() if options.metrics else None
        self._pumps = set()
        self._pump_lock = threading.Lock()

    # Life.

    def post(self, event):
        """Hand in an event from any thread or signal handler."""
        self._events.put(event)

    def run(self):
        """Run until closed. Raises StartError when the agent cannot start."""
        home = self.options.home
        lock = HomeLock(home)
        cgroups = None
        try:
            try:
                self.journal = Journal(home)
            except (OSError, ValueError, KeyError) as error:
                raise StartError("the journal in %s cannot be read: %s" % (home, error)) from None
            self.boot_id = read_boot_id()
            search_path = self.options.environment.get("PATH", "")
            shells = find_shells(search_path)
            cgroups = CommandCgroups.probe(home) if self.options.cgroups == "auto" else None
            self.shells = list(shells)
            self.capabilities = find_capabilities(shells, cgroups)
            self.executor = Executor(
                home,
                self.options.work_dir,
                shells,
                frozenset(self.capabilities),
                cgroups,
                self.options.environment,
                self.options.kill,
            )
            self._recover()
            self._connect()
            self._loop()
        finally:
            if cgroups:
                cgroups.close()
            if hasattr(self, "journal"):
                self.journal.close()
            lock.release()
        self.log.info("stopped")

    def _loop(self):
        while self._phase != "stopped":
            event = self._next_event()
            for _ in range(MAX_EVENTS_PER_TURN):
                if event is None:
                    break
                self._handle(event)
                event = self._poll_event()
            if event is not None:
                self._handle(event)
            self._run_timers()
            # Commands that arrived together share one flush.
            self._start_prepared()
            self._advance_end()

    def _next_event(self):
        wait_s = MAX_WAIT_S
        while self._timers and self._timers[0][2].act is None:
            heapq.heappop(self._timers)
        if self._timers:
            wait_s = min(wait_s, max(0.0, self._timers[0][0] - now_ms()) / 1000.0)
        try:
            return self._events.get(timeout=wait_s)
        except queue.Empty:
            return None

    def _poll_event(self):
        try:
            return self._events.get_nowait()
        except queue.Empty:
            return None

    def _after(self, delay_ms, act):
        timer = Timer(now_ms() + delay_ms, act)
        heapq.heappush(self._timers, (timer.at, next(self._timer_numbers), timer))
        return timer

    def _run_timers(self):
        while self._timers and self._timers[0][0] <= now_ms():
            timer = heapq.heappop(self._timers)[2]
            act, timer.act = timer.act, None
            if act is not None:
                act()

    @staticmethod
    def _cancel_timer(timer):
        if timer is not None:
            timer.cancel()

    def _handle(self, event):
        kind = event[0]
        if kind == "signal":
            self.log.info("signal", name=event[1], count=1 if self._phase == "running" else 2)
            self._begin_end(self.options.drain_ms)
        elif kind == "close":
            self._begin_end(event[1])
        elif kind == "pump":
            with self._pump_lock:
                self._pumps.discard(event[1])
            command = self._live.get(event[1])
            if command is not None:
                self._push(command)
        elif kind == "ended":
            self._end(event[1], event[2])
        elif event[1] is not self._socket:
            return  # Of an older socket.
        elif kind == "open":
            self._socket_state = "greeting"
            self._socket.send_text(compact_json(self._hello()))
        elif kind == "text":
            self._receive(event[2])
        elif kind == "room":
            for command in list(self._live.values()):
                self._push(command)
        elif kind == "closed":
            self._disconnected(*event[2:])

    # The end.

    def _begin_end(self, drain_ms):
        if self._phase != "running":
            self._stop_all("agent_stopping")
            return
        self._phase = "draining"
        self.log.info("draining", running=self._active)
        self.send({"type": "draining"})
        # Queued here: never started, and saying so makes the server offer it again.
        for command in self._queue:
            del self._live[command.command_id]
            self.send({"type": "notKnown", "commandId": command.command_id})
        self._queue.clear()
        self._drain_timer = self._after(drain_ms, lambda: self._stop_all("agent_stopping"))

    def _advance_end(self):
        if self._phase == "draining" and self._active == 0:
            self._cancel_timer(self._drain_timer)
            self._phase = "acking"
            self._final_timer = self._after(FINAL_ACK_DEADLINE_MS, lambda: None)
        if self._phase == "acking":
            is_settled = not self._live or self._socket_state != "open" or self._final_timer.act is None
            if is_settled:
                self._phase = "closing"
                self._cancel_timer(self._reconnect_timer)
                if self._socket is not None and self._socket_state in ("greeting", "open"):
                    self._socket.close(1001, "agent stops")
                elif self._socket is not None:
                    self._socket.terminate()
                self._after(CLOSE_DEADLINE_MS + 500, self._stop)
        if self._phase == "closing" and self._socket is None:
            self._stop()

    def _stop(self):
        self._phase = "stopped"
        for command in self._live.values():
            if command.streams is not None:
                for stream in command.streams.values():
                    stream.spool.close()

    def _stop_all(self, reason):
        for command in list(self._live.values()):
            if command.state in ("running", "starting"):
                self._cancel_live(command, reason)

    # The connection.

    def send(self, frame):
        if self._socket_state != "open" or self._socket is None:
            return False
        return self._socket.send_text(compact_json(frame))

    def has_room(self):
        return self._socket_state == "open" and self._socket is not None and self._socket.has_room()

    def _connect(self):
        self._reconnect_timer = None
        self._returns_at_once = False
        self._socket_state = "connecting"
        url = agent_socket_url(self.options.url)
        client = WebSocketClient(url, self.options.token, self.post, WELCOME_DEADLINE_MS / 1000.0)
        self._socket = client
        self._welcome_timer = self._after(WELCOME_DEADLINE_MS, client.terminate)
        self._arm_ping(client)

    def _arm_ping(self, client):
        def ping():
            if self._socket is not client:
                return
            if client.missed_pongs >= MAX_MISSED_PONGS:
                self.log.warn("socket_dead", missedPongs=client.missed_pongs)
                client.terminate()
                return
            if self._socket_state in ("greeting", "open"):
                client.ping()
            self._arm_ping(client)

        self._ping_timer = self._after(self.options.ping_interval_ms, ping)

    def _disconnected(self, code, reason, cause):
        was_open = self._socket_state == "open"
        if was_open and now_ms() - self._open_since >= STABLE_AFTER_MS:
            self._attempt = 0
        self._socket = None
        self._socket_state = "waiting"
        for timer in (self._welcome_timer, self._ping_timer, self._presence_timer, self._announce_timer):
            self._cancel_timer(timer)
        if self._phase == "closing":
            return
        # A server that asks for a new journal again and again gets the usual backoff from the second time on.
        is_at_once = self._returns_at_once and self._attempt == 0
        delay_ms = 0 if is_at_once else backoff_delay_ms(self._attempt, cause or code, self.options.backoff)
        self._attempt += 1
        self.log.info("socket_closed", code=code, reason=reason[:200], wasOpen=was_open, retryInMs=delay_ms)
        self._reconnect_timer = self._after(delay_ms, self._connect)

    def _hello(self):
        machine = platform.machine()
        architectures = {"x86_64": "x64", "AMD64": "x64", "aarch64": "arm64", "ARM64": "arm64"}
        return {
            "type": "hello",
            "protocol": PROTOCOL_VERSION,
            "agentId": self.options.agent_id,
            "journalId": self.journal.journal_id,
            "journalSeq": self.journal.seq,
            "delivery": "websocket",
            "hostname": host_name(self.options.name),
            "os": ("%s %s" % (platform.system(), platform.release()))[:255],
            "arch": architectures.get(machine, machine)[:64],
            "version": AGENT_VERSION,
            "capabilities": self.capabilities,
            "shells": self.shells,
            "defaultShell": self.shells[0] if self.shells else "",
        }

    def _receive(self, text):
        frame = unknown = malformed = None
        try:
            frame = parse_server_frame(text)
        except KeyError as error:
            unknown = error.args[0]
        except Malformed as error:
            malformed = str(error)
        if self._socket_state == "greeting":
            if frame is None or frame["type"] != "welcome":
                got = frame["type"] if frame else unknown or "malformed"
                self.log.error("welcome_expected", got=got)
                self._socket.close(1002, "welcome expected")
            else:
                self._welcome(frame)
        elif self._socket_state != "open" or self._returns_at_once:
            return
        elif unknown is not None:
            self.log.warn("unknown_frame", type=unknown)
            self.send({"type": "error", "code": "unknown_frame", "message": unknown})
        elif malformed is not None:
            self.log.warn("malformed_frame", message=malformed)
            self.send({"type": "error", "code": "malformed_frame", "message": malformed[:500]})
            self._refuse_malformed(text)
        else:
            self._dispatch(frame)

    def _welcome(self, frame):
        self._cancel_timer(self._welcome_timer)
        if frame["protocol"] != PROTOCOL_VERSION:
            self.log.error("protocol_mismatch", server=frame["protocol"], agent=PROTOCOL_VERSION)
            self._socket.close(1002, "protocol version")
            return
        if frame["agentId"] != self.options.agent_id:
            self.log.error("identity_mismatch", server=frame["agentId"], agent=self.options.agent_id)
            self._socket.close(1002, "agent id")
            return
        self._socket_state = "open"
        self._open_since = now_ms()
        self.log.info("connected", epoch=frame["epoch"], serverVersion=frame["serverVersion"])
        if frame["resetJournal"]:
            self.journal.reset()
            self.log.warn("journal_reset", journalId=self.journal.journal_id)
            # A new journal must say hello first.
            self._returns_at_once = True
            self._socket.close(1000, "new journal")
            return
        if self._phase == "draining":
            self.send({"type": "draining"})
        self._announce()
        self._presence_interval = max(1_000, frame["presenceIntervalMs"])
        self._report_presence()

    def _report_presence(self):
        metrics = None
        if self._metrics is not None:
            try:
                metrics = self._metrics.read()
            except (OSError, ValueError, IndexError) as error:
                self.log.warn("presence_failed", err=str(error))
        self.send(
            {"type": "presence", "journalSeq": self.journal.seq, "running": self._active, "metrics": metrics}
        )
        self._presence_timer = self._after(self._presence_interval, self._report_presence)

    def _dispatch(self, frame):
        kind = frame["type"]
        if kind == "run":
            self._on_run(frame)
        elif kind == "cancel":
            self._on_cancel(frame["commandId"], frame["reason"])
        elif kind == "outputAck":
            command = self._live.get(frame["commandId"])
            if command is not None and command.streams is not None:
                command.streams[frame["stream"]].ack(frame["nextOffset"])
                self._push(command)
        elif kind == "resultAck":
            self._on_result_ack(frame["commandId"])
        elif kind == "presenceRequest":
            # The regular report is due an interval after this one.
            self._cancel_timer(self._presence_timer)
            self._report_presence()
        elif kind == "error":
            self.log.warn("server_error", code=frame["code"][:64], message=frame["message"][:1024])

    def _refuse_malformed(self, text):
        """A run frame whose act this version cannot read never ran: say so, rather than let it wait for its expiry."""
        try:
            frame = parse_json(text)
        except ValueError:
            return
        if not isinstance(frame, dict) or frame.get("type") != "run" or frame.get("resume") is True:
            return
        command_id, digest = frame.get("commandId"), frame.get("digest")
        if not _is_match(UUID_TEXT, command_id) or not _is_match(DIGEST_TEXT, digest):
            return
        if command_id not in self._live and self.journal.find(command_id) is None:
            self._finish_unstarted(command_id, digest, "rejected", "malformed_act")

    # Commands.

    def _add(self, command_id, digest, state):
        command = Command(command_id, digest, state)
        self._live[command_id] = command
        self._arm_sweep()
        return command

    def _finish_unstarted(self, command_id, digest, outcome, reason):
        self._finish(self._add(command_id, digest, "starting"), {"outcome": outcome, "reason": reason})

    def _on_run(self, frame):
        command_id, digest = frame["commandId"], frame["digest"]
        if self._answer_known(frame):
            return
        # Draining is answered like a resume: never seen, never started, to be sent again later.
        if frame["resume"] or self._phase != "running":
            self.send({"type": "notKnown", "commandId": command_id})
        elif act_digest(frame["act"], frame["binding"]) != digest:
            self._finish_unstarted(command_id, digest, "rejected", "digest_mismatch")
        elif frame["startWithinMs"] <= 0:
            self._finish_unstarted(command_id, digest, "expired", "expired")
        else:
            command = self._add(command_id, digest, "queued")
            command.act = frame["act"]
            command.start_before = now_ms() + frame["startWithinMs"]
            self._queue.append(command)
            self._start_queued()

    def _answer_known(self, frame):
        """B: answer for an id that is known. False when it is not."""
        command_id, digest = frame["commandId"], frame["digest"]
        command, entry = self._live.get(command_id), self.journal.find(command_id)
        if command is None and entry is None:
            return False
        known = command.digest if command is not None else entry["digest"]
        if known not in (digest, NO_DIGEST):
            self.send(
                {"type": "error", "code": "digest_conflict", "message": "%s has another digest here" % command_id}
            )
            self.log.warn("digest_conflict", commandId=command_id)
        elif command is not None:
            # A tombstone did not know its digest until now.
            if command.state == "finished":
                command.result["digest"] = digest
            if frame["resume"]:
                self._report(command, frame["offsets"])
            else:
                self._send_started(command)
                self._repeat_result(command)
        elif entry["phase"] in ("acked", "finished"):
            self.send(dict(entry["result"], digest=digest))
        return True

    def _on_cancel(self, command_id, reason):
        command, entry = self._live.get(command_id), self.journal.find(command_id)
        if command is not None:
            self._cancel_live(command, reason)
        elif entry is None:
            # A tombstone: the run frame may still come.
            self._finish_unstarted(command_id, NO_DIGEST, "canceled", reason)
        elif entry["phase"] in ("acked", "finished"):
            self.send(entry["result"])

    def _cancel_live(self, command, reason):
        if command.state == "queued":
            self._queue.remove(command)
            self._finish(command, {"outcome": "canceled", "reason": reason})
        elif command.state == "starting":
            command.cancel_reason = command.cancel_reason or reason
        elif command.state == "running":
            command.job.stop("canceled", reason)
        else:
            self._repeat_result(command)

    def _on_result_ack(self, command_id):
        command = self._live.get(command_id)
        if command is None or command.state != "finished":
            return
        del self._live[command_id]
        if command.streams is not None:
            for stream in command.streams.values():
                stream.spool.close(discard=True)
        try:
            self.journal.acked(command_id)
            self._arm_lazy_flush()
        except JournalFailure as error:
            self._journal_failed(command_id, error)

    def _journal_failed(self, command_id, error):
        self.log.error("journal_write_failed", commandId=command_id, err=str(error))

    def _arm_lazy_flush(self):
        if self._lazy_flush is not None and self._lazy_flush.act is not None:
            return

        def flush():
            try:
                self.journal.flush()
            except JournalFailure:
                pass  # The next append says so.

        self._lazy_flush = self._after(LAZY_FLUSH_MS, flush)

    # From the queue to the end of the process: INTENT, start, STARTED, wait.

    def _start_queued(self):
        while self._queue and self._active < self.options.max_parallel:
            command = self._queue.popleft()
            self._active += 1
            command.state = "starting"
            try:
                self.journal.intent(command.command_id, command.digest)
            except JournalFailure as error:
                self._journal_failed(command.command_id, error)
                self._end(command, {"outcome": "rejected", "reason": "journal_unavailable"})
                continue
            self._to_start.append(command)

    def _start_prepared(self):
        while self._to_start:
            prepared, self._to_start = self._to_start, []
            try:
                self.journal.flush()
            except JournalFailure as error:
                for command in prepared:
                    self._journal_failed(command.command_id, error)
                    self._end(command, {"outcome": "rejected", "reason": "journal_unavailable"})
                continue
            for command in prepared:
                self._start_process(command)

    def _start_process(self, command):
        command_id, act = command.command_id, command.act
        if command.cancel_reason is not None:
            self._end(command, {"outcome": "canceled", "reason": command.cancel_reason})
            return
        if now_ms() > command.start_before:
            self._end(command, {"outcome": "expired", "reason": "expired"})
            return
        command.streams = self._streams(command_id, lambda path, _: Spool(path, act["outputCapBytes"]))
        spools = {name: stream.spool for name, stream in command.streams.items()}
        try:
            job = self.executor.start(
                command_id,
                act,
                spools,
                lambda: self._post_pump(command_id),
                lambda facts: self.post(("ended", command, facts)),
            )
        except Rejected as rejection:
            self._end(command, {"outcome": "rejected", "reason": str(rejection)})
            return
        command.job = job
        command.state = "running"
        command.since = now_ms()
        command.started = {"pid": job.pid, "startedAt": iso_now()}
        start = {"pid": job.pid, "processStart": job.process_start, "bootId": self.boot_id}
        try:
            self.journal.started(command_id, dict(start, startedAt=command.started["startedAt"]))
            self._arm_lazy_flush()
        except JournalFailure as error:
            # It runs already. INTENT is on disk, so the worst a restart can say is `unknown`.
            self._journal_failed(command_id, error)
        self.log.info("command_started", commandId=command_id, pid=job.pid)
        self._send_started(command)
        command.timer = self._after(act["timeoutMs"], lambda: job.stop("timed_out", "timeout"))

    def _post_pump(self, command_id):
        """From a reading thread: one event is enough for any number of chunks."""
        with self._pump_lock:
            if command_id in self._pumps:
                return
            self._pumps.add(command_id)
        self.post(("pump", command_id))

    def _end(self, command, facts):
        """The command has ended; its slot is free."""
        self._active -= 1
        self._cancel_timer(command.timer)
        if command.started is not None:
            duration = max(0, round(now_ms() - command.since))
            facts = dict(facts, startedAt=command.started["startedAt"], durationMs=duration)
        self._finish(command, facts)
        self._start_queued()

    def _finish(self, command, facts):
        """In the journal before it is sent, so that a restart says the same."""
        command.result = self._result(command, dict({"finishedAt": iso_now()}, **facts))
        command.state = "finished"
        command.sent_at = None
        command.job = None
        try:
            self.journal.finished(dict(command.result), self._memory_output(command))
            self._arm_lazy_flush()
        except JournalFailure as error:
            self._journal_failed(command.command_id, error)
        facts_logged = {name: command.result[name] for name in ("outcome", "exitCode", "reason", "durationMs")}
        self.log.info("command_finished", commandId=command.command_id, **facts_logged)
        self._push(command)

    @staticmethod
    def _result(command, facts):
        reason = facts.get("reason")
        summaries = {
            name: dict(EMPTY_SUMMARY) if command.streams is None else command.streams[name].spool.summary()
            for name in STREAM_NAMES
        }
        return {
            "type": "result",
            "commandId": command.command_id,
            "digest": command.digest,
            "outcome": facts["outcome"],
            "exitCode": facts.get("exitCode"),
            "signal": facts.get("signal"),
            "reason": None if reason is None else reason[:MAX_REASON_LENGTH],
            "startedAt": facts.get("startedAt"),
            "finishedAt": facts.get("finishedAt"),
            "durationMs": facts.get("durationMs"),
            "stdout": summaries["stdout"],
            "stderr": summaries["stderr"],
        }

    @staticmethod
    def _memory_output(command):
        """Output that exists only in memory, to be saved with the result."""
        saved = {}
        for name, stream in (command.streams or {}).items():
            data = None if stream.is_delivered() else stream.spool.memory_base64()
            if data is not None:
                saved[name] = data
        return saved or None

    def _streams(self, command_id, spool_of):
        directory = os.path.join(self.options.home, "spool")
        return {
            name: OutboundStream(self, spool_of(os.path.join(directory, command_id + "." + name), name), command_id, name)
            for name in STREAM_NAMES
        }

    # Reporting.

    def _send_started(self, command):
        if command.started is not None:
            frame = {"type": "started", "commandId": command.command_id, "digest": command.digest}
            self.send(dict(frame, **command.started))

    def _push(self, command):
        """Output as far as the window allows, then the result (D)."""
        if command.streams is not None:
            for stream in command.streams.values():
                stream.pump()
        if command.state != "finished" or command.sent_at is not None:
            return
        if command.streams is not None and not all(stream.is_delivered() for stream in command.streams.values()):
            return
        if self.send(command.result):
            command.sent_at = now_ms()

    def _repeat_result(self, command):
        command.sent_at = None
        self._push(command)

    def _report(self, command, offsets):
        """Everything about one command, from the offsets the server names (None: from what it acked before)."""
        self._unannounced.discard(command.command_id)
        self._send_started(command)
        for name, stream in (command.streams or {}).items():
            stream.restart(None if offsets is None else offsets[name])
        self._repeat_result(command)

    def _announce(self):
        """A new socket: report soon whatever the server does not ask about by itself."""
        self._unannounced = set(self._live)
        self._cancel_timer(self._announce_timer)

        def announce():
            for command_id in list(self._unannounced):
                command = self._live.get(command_id)
                if command is not None and command.state != "queued":
                    self._report(command, None)

        self._announce_timer = self._after(ANNOUNCE_AFTER_MS, announce)

    def _arm_sweep(self):
        if self._live and (self._sweep_timer is None or self._sweep_timer.act is None):
            self._sweep_timer = self._after(SWEEP_INTERVAL_MS, self._sweep)

    def _sweep(self):
        moment = now_ms()
        for command in list(self._live.values()):
            if command.state == "queued" and moment > command.start_before:
                self._queue.remove(command)
                self._finish(command, {"outcome": "expired", "reason": "expired"})
            elif command.state == "running" and moment - command.since > SPILL_AFTER_MS:
                for stream in command.streams.values():
                    stream.spool.spill()
                    if stream.spool.disk_error is not None:
                        self.log.error("spool_write_failed", err=stream.spool.disk_error)
                        stream.spool.disk_error = None
            for stream in (command.streams or {}).values():
                stream.resend_when_stalled(moment)
            is_sent = command.state == "finished" and command.sent_at is not None
            if is_sent and moment - command.sent_at > RESEND_STALL_MS:
                self._repeat_result(command)
        self._arm_sweep()

    # The journal of an earlier process.

    def _recover(self):
        unfinished = [entry for entry in self.journal.entries.values() if entry["phase"] in ("intent", "started")]
        finished = [entry for entry in self.journal.entries.values() if entry["phase"] == "finished"]
        with concurrent.futures.ThreadPoolExecutor(max_workers=16) as pool:
            survivors = list(pool.map(self._kill_unfinished, unfinished))
        for entry, count in zip(unfinished, survivors):
            self._adopt(self._end_unfinished(entry, count))
        for entry in finished:
            self._adopt(self._take_over(entry))
        directory = os.path.join(self.options.home, "spool")
        for name in os.listdir(directory):
            if name.rpartition(".")[0] not in self._live:
                os.unlink(os.path.join(directory, name))

    def _adopt(self, command):
        self._live[command.command_id] = command
        self._arm_sweep()

    def _kill_unfinished(self, entry):
        start = entry.get("start")
        # A pid of an earlier boot names a stranger.
        if start is None or start["bootId"] != self.boot_id:
            start = {"pid": None, "processStart": None}
        return self.executor.kill_leftovers(entry["commandId"], start["pid"], start["processStart"])

    def _end_unfinished(self, entry, survivors):
        command_id, start = entry["commandId"], entry.get("start")
        command = Command(command_id, entry["digest"], "finished")
        command.streams = self._streams(command_id, lambda path, _: Spool.restore(path, None))
        reason = "agent_restarted"
        if survivors:
            reason += "; %d process(es) survived the kill" % survivors
        started_at = None
        if start is not None:
            started_at = start["startedAt"]
            command.started = {"pid": start["pid"], "startedAt": started_at}
        command.result = self._result(command, {"outcome": "unknown", "reason": reason, "startedAt": started_at})
        self.journal.finished(dict(command.result), None)
        self.log.warn("command_unknown", commandId=command_id, phase=entry["phase"], survivors=survivors)
        return command

    def _take_over(self, entry):
        command_id, saved = entry["commandId"], entry["output"] or {}
        command = Command(command_id, entry["digest"], "finished")
        command.streams = self._streams(command_id, lambda path, name: Spool.restore(path, saved.get(name)))
        command.result = dict(entry["result"])
        for name in STREAM_NAMES:
            path = os.path.join(self.options.home, "spool", command_id + "." + name)
            # Neither file nor saved bytes: the server had acked all of it when the command ended.
            if os.path.exists(path) or name in saved:
                left = command.streams[name].spool.summary()
                command.result[name] = restored_summary(command.result[name], left)
        return command


def restored_summary(promised, left):
    """What was promised before the restart, cut (and flagged) to what is left of it."""
    if left["sha256"] == promised["sha256"]:
        return promised
    total = max(promised["totalBytes"], left["bytes"])
    return {"bytes": left["bytes"], "sha256": left["sha256"], "totalBytes": total, "truncated": total > left["bytes"]}


def host_name(given):
    """The name this agent goes by: the configured one, else the machine's."""
    return (given or socket.gethostname() or "unknown")[:255]


# --- Enrolment and configuration -------------------------------------------------------------------------------------


class _NoRedirects(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *args):
        return None  # The token is for this server only.


def enrol(url, enrolment_token, agent_id, name):
    """Trade a one-time token for (agent id, token). Raises StartError with the server's words."""
    base = re.sub(r"^ws", "http", url.rstrip("/"))
    body = {
        "enrolmentToken": enrolment_token,
        "hostname": host_name(name),
        "os": ("%s %s" % (platform.system(), platform.release()))[:255],
        "arch": platform.machine()[:64],
        "version": AGENT_VERSION,
    }
    if agent_id is not None:
        body["agentId"] = agent_id
    request = urllib.request.Request(
        base + "/v1/agents/enrol",
        data=json.dumps(body).encode(),
        headers={"content-type": "application/json", "accept": "application/json"},
    )
    try:
        with urllib.request.build_opener(_NoRedirects, urllib.request.ProxyHandler({})).open(request, timeout=ENROL_DEADLINE_S) as reply:
            answer = parse_json(reply.read(64 * 1024).decode("utf-8"))
    except urllib.error.HTTPError as error:
        detail = error.read(300).decode("utf-8", "replace")
        raise StartError("the server refused the enrolment: %d %s" % (error.code, detail)) from None
    except (OSError, ValueError) as error:
        raise StartError("the enrolment failed: %s" % error) from None
    known_id = answer.get("agentId") if isinstance(answer, dict) else None
    token = answer.get("agentToken") if isinstance(answer, dict) else None
    if not _is_match(AGENT_ID_TEXT, known_id) or not isinstance(token, str) or not token:
        raise StartError("the server answered the enrolment with something else")
    return known_id, token


USAGE = """steelthread agent (Python): runs approved commands on this machine

  flag             environment                       default
  --config         STEELTHREAD_AGENT_CONFIG          a JSON file that holds any of the variables below
  --url            STEELTHREAD_URL                   (required) base URL of the server
  --home           STEELTHREAD_AGENT_HOME            ~/.steelthread/agent
  --work-dir       STEELTHREAD_AGENT_WORK_DIR        <home>/work, where commands run that name no directory
  --name           STEELTHREAD_AGENT_NAME            the machine's own name
  --agent-id       STEELTHREAD_AGENT_ID              the id from enrolment
                   STEELTHREAD_AGENT_TOKEN           the token from enrolment
  --token-file     STEELTHREAD_AGENT_TOKEN_FILE      a file that holds the token
                   STEELTHREAD_ENROL_TOKEN           one-time token, used when there is no identity yet
  --max-parallel   STEELTHREAD_AGENT_MAX_PARALLEL    %d commands at once, more are queued
  --allow-plaintext  STEELTHREAD_AGENT_ALLOW_PLAINTEXT=1   http:// to another machine, where anybody in between decides
                                                     what runs
  --debug          STEELTHREAD_AGENT_DEBUG=1         log debug events
""" % DEFAULT_MAX_PARALLEL


class Config:
    url = home = work_dir = name = agent_id = token = enrolment_token = None
    max_parallel = DEFAULT_MAX_PARALLEL
    debug = False


def parse_config(args, env):
    """(config, problems). Flags, then environment, then the configuration file, then defaults."""
    problems = []
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    for flag in ("config", "url", "home", "work-dir", "name", "agent-id", "token-file", "max-parallel"):
        parser.add_argument("--" + flag)
    for flag in ("allow-plaintext", "debug"):
        parser.add_argument("--" + flag, action="store_true")
    flags, unknown = parser.parse_known_args(args)
    if unknown:
        problems.append("flags: unknown: %s" % " ".join(unknown))

    settings = {}
    path = flags.config or env.get("STEELTHREAD_AGENT_CONFIG", "").strip()
    if path:
        try:
            with open(path, encoding="utf-8-sig") as file:
                settings = parse_json(file.read())
            if not isinstance(settings, dict) or not all(isinstance(value, str) for value in settings.values()):
                raise ValueError("must be an object of strings")
        except (OSError, ValueError) as error:
            problems.append("STEELTHREAD_AGENT_CONFIG (--config): %s" % error)
            settings = {}

    def variable(name, flag=None):
        return flag or env.get(name, "").strip() or settings.get(name, "").strip() or None

    config = Config()
    config.debug = flags.debug or variable("STEELTHREAD_AGENT_DEBUG") == "1"
    allows_plaintext = flags.allow_plaintext or variable("STEELTHREAD_AGENT_ALLOW_PLAINTEXT") == "1"
    config.url = variable("STEELTHREAD_URL", flags.url)
    if config.url is None:
        problems.append("STEELTHREAD_URL (--url) is missing: the base URL of the server")
    else:
        problem = url_problem(config.url, allows_plaintext)
        if problem is not None:
            problems.append("STEELTHREAD_URL (--url) " + problem)
    home = variable("STEELTHREAD_AGENT_HOME", flags.home) or os.path.join("~", ".steelthread", "agent")
    config.home = os.path.abspath(os.path.expanduser(home))
    config.work_dir = variable("STEELTHREAD_AGENT_WORK_DIR", flags.work_dir)
    if config.work_dir is not None:
        config.work_dir = os.path.abspath(config.work_dir)
        if not os.path.isdir(config.work_dir):
            problems.append('STEELTHREAD_AGENT_WORK_DIR (--work-dir) must be a directory, got "%s"' % config.work_dir)
    config.name = variable("STEELTHREAD_AGENT_NAME", flags.name)
    text = variable("STEELTHREAD_AGENT_MAX_PARALLEL", flags.max_parallel) or str(DEFAULT_MAX_PARALLEL)
    if re.match(r"\d+\Z", text) and 1 <= int(text) <= MAX_MAX_PARALLEL:
        config.max_parallel = int(text)
    else:
        problems.append(
            "STEELTHREAD_AGENT_MAX_PARALLEL (--max-parallel) must be a whole number from 1 to %d" % MAX_MAX_PARALLEL
        )
    _parse_identity(config, variable, flags, problems)
    return config, problems


def _parse_identity(config, variable, flags, problems):
    """Given token, then stored identity, then enrolment. A stored identity of another id than asked for is not used."""
    config.agent_id = variable("STEELTHREAD_AGENT_ID", flags.agent_id)
    if config.agent_id is not None and not AGENT_ID_TEXT.match(config.agent_id):
        problems.append("STEELTHREAD_AGENT_ID (--agent-id) must match [A-Za-z0-9][A-Za-z0-9._:-]{0,127}")
    config.token = variable("STEELTHREAD_AGENT_TOKEN")
    token_file = variable("STEELTHREAD_AGENT_TOKEN_FILE", flags.token_file)
    if config.token is None and token_file is not None:
        try:
            with open(token_file, encoding="utf-8") as file:
                config.token = file.read().strip() or None
        except (OSError, ValueError) as error:
            problems.append("STEELTHREAD_AGENT_TOKEN_FILE (--token-file): %s" % error)
    stored = None
    try:
        stored = read_identity(config.home)
    except (OSError, ValueError) as error:
        path = os.path.join(config.home, "agent.json")
        problems.append("%s is damaged (delete it to enrol again): %s" % (path, error))
    config.enrolment_token = variable("STEELTHREAD_ENROL_TOKEN")
    if config.token is not None:
        config.agent_id = config.agent_id or (stored and stored[0])
        if config.agent_id is None:
            problems.append(
                "STEELTHREAD_AGENT_ID (--agent-id) is missing: the id that belongs to STEELTHREAD_AGENT_TOKEN"
            )
    elif stored is not None and config.agent_id in (None, stored[0]):
        config.agent_id, config.token = stored
    elif config.enrolment_token is None:
        problems.append("no identity: set STEELTHREAD_ENROL_TOKEN, or STEELTHREAD_AGENT_TOKEN with STEELTHREAD_AGENT_ID")
    if config.token is not None and not re.match(r"[\x21-\x7e]+\Z", config.token):
        problems.append("STEELTHREAD_AGENT_TOKEN must be printable ASCII without spaces")


def url_problem(url, allows_plaintext):
    try:
        parts = urllib.parse.urlsplit(url)
        host, _ = parts.hostname, parts.port
    except ValueError:
        host, parts = None, urllib.parse.urlsplit("")
    is_clean = re.match(r"[\x21-\x7e]+\Z", url) is not None
    if parts.scheme not in ("http", "https", "ws", "wss") or not host or not is_clean or parts.query or parts.fragment:
        return "must be an http(s) URL, got %s" % json.dumps(url)
    is_own = host in ("localhost", "::1") or re.match(r"127(\.\d{1,3}){3}\Z", host) is not None
    if parts.scheme in ("https", "wss") or is_own or allows_plaintext:
        return None
    return (
        "must be https:// for another machine: the token, and what runs here, would cross the network unprotected "
        "(STEELTHREAD_AGENT_ALLOW_PLAINTEXT=1 accepts that)"
    )


def listen_for_signals(agent):
    """The first signal drains, the second ends running commands at once. SimpleQueue.put is safe in a handler."""
    for name in ("SIGTERM", "SIGINT", "SIGBREAK"):
        if hasattr(signal, name):
            number = getattr(signal, name)
            signal.signal(number, lambda number, _: agent.post(("signal", signal.Signals(number).name)))


def main(args=None, env=None):
    """Exit codes: 0 stopped, 1 could not start, 2 bad configuration."""
    args = list(sys.argv[1:] if args is None else args)
    env = os.environ if env is None else env
    if "--help" in args or "-h" in args:
        sys.stdout.write(USAGE)
        return 0
    config, problems = parse_config(args, env)
    if problems:
        sys.stderr.write("The agent cannot start:\n" + "".join("  - %s\n" % problem for problem in problems))
        return 2
    log = Log(config.debug)
    try:
        if config.token is None:
            config.agent_id, config.token = enrol(config.url, config.enrolment_token, config.agent_id, config.name)
            write_identity(config.home, config.agent_id, config.token)
            log.info("enrolled", agentId=config.agent_id)
        agent = Agent(
            Options(
                config.url,
                config.agent_id,
                config.token,
                config.home,
                name=config.name,
                work_dir=config.work_dir,
                max_parallel=config.max_parallel,
                log=log,
            )
        )
        listen_for_signals(agent)
        agent.run()
    except (StartError, OSError, JournalFailure) as error:
        log.error("agent_failed", err=str(error))
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
