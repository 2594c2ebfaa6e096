"""Makes the project's own `.venv` and installs the package into it, once; later runs only check a stamp.

Runs on the standard library of any Python 3 (so it has no annotations), for a Python which is too old or too new must
be reported in one clear line.
"""

import contextlib
import hashlib
import json
import os
import platform
import shutil
import signal
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
FOLDER = ROOT / ".venv"
STAMP = FOLDER / "partialorganseg-setup.json"
LOG = ROOT / "build" / "setup.log"
UNFINISHED = ROOT / "build" / "setup-unfinished"
OLDEST, NEWEST = (3, 10), (3, 12)
CPU_WHEELS = "https://download.pytorch.org/whl/cpu"


class SetupError(Exception):
    """Why the environment cannot be made, in one line."""


def run_script(main):
    """Runs `main() -> int`: set-up errors become one line, Ctrl-C and termination exit code 130."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")  # a console that cannot show a path's letters still goes on
    try:
        code = main()
    except (SetupError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        code = 1
    except KeyboardInterrupt:
        print("cancelled", file=sys.stderr)
        code = 130
    sys.exit(code)


def call(command):
    """Exit code of a command that shares this terminal; when cancelled, the command may clean up first."""
    process = subprocess.Popen(command)
    try:
        return process.wait()
    except KeyboardInterrupt:
        process.terminate()
        try:
            process.wait(timeout=30)
        finally:
            process.kill()
        raise


def ready_environment(*extras):
    """The `.venv`'s Python, with the package and `extras` of pyproject.toml installed. Raises SetupError."""
    check_python()
    if not is_ready(extras):
        with one_at_a_time():
            if not is_ready(extras):  # another script may have been first
                set_up(sorted({*extras, *stamp().get("extras", [])}))
    return python_path()


def check_python():
    """Raises SetupError unless this Python is one that the package and its dependencies are made for."""
    version = sys.version_info[:2]
    if not OLDEST <= version <= NEWEST:
        fitting = [f"python3.{minor}" for minor in range(NEWEST[1], OLDEST[1] - 1, -1)]
        installed = [name for name in fitting if shutil.which(name)]
        hint = "install one from https://www.python.org/downloads"
        if installed:
            hint = f"run: {installed[0]} {' '.join(sys.argv)}"
        raise SetupError(f"Python 3.{OLDEST[1]} to 3.{NEWEST[1]} is needed, this is {platform.python_version()} "
                         f"({sys.executable}); {hint}")
    try:
        import ensurepip  # noqa: F401
        import venv  # noqa: F401
    except ImportError:
        raise SetupError("this Python has no venv module; on Debian and Ubuntu: sudo apt install "
                         f"python3.{version[1]}-venv") from None


def python_path():
    """Path of the environment's Python."""
    if os.name == "nt":
        return FOLDER / "Scripts" / "python.exe"
    return FOLDER / "bin" / "python"


def fingerprint():
    """Fingerprint of all that the environment depends on; another one means a new set-up."""
    text = "".join((ROOT / name).read_text(encoding="utf-8") for name in ("pyproject.toml", "constraints.txt"))
    facts = f"{text}\n{sys.version_info[:2]}\n{platform.machine()}\n{ROOT}"
    return hashlib.sha256(facts.encode("utf-8", "surrogateescape")).hexdigest()


def stamp():
    """What the last finished set-up wrote; empty when there was none."""
    try:
        return json.loads(STAMP.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}


def is_ready(extras):
    """Whether a finished set-up of just this package definition and at least these extras is there."""
    return (not UNFINISHED.exists() and python_path().exists() and stamp().get("fingerprint") == fingerprint()
            and set(extras) <= set(stamp().get("extras", [])))


@contextlib.contextmanager
def one_at_a_time():
    """Holds a lock so that two scripts started together do not set up the same folder twice."""
    LOG.parent.mkdir(exist_ok=True)
    # The system lets go of the lock when the process ends, however it ends; a file that must be deleted would stay.
    with open(LOG.with_name("setup.lock"), "w") as handle:
        if os.name == "nt":
            import msvcrt
            try:
                msvcrt.locking(handle.fileno(), msvcrt.LK_LOCK, 1)
            except OSError:
                raise SetupError("another set-up of this folder is running; wait for it to end") from None
        else:
            import fcntl
            fcntl.flock(handle, fcntl.LOCK_EX)
        yield


def set_up(extras):
    """Makes or completes the environment. One that was cut off half-way is made anew by the next run."""
    LOG.write_text("", encoding="utf-8")
    # A half-made environment cannot be told from a whole one by looking at it: a file says that this one is unfinished.
    fresh = UNFINISHED.exists() or not same_python()
    UNFINISHED.touch()
    try:
        if STAMP.exists():
            STAMP.unlink()
        install(extras, fresh)
        STAMP.write_text(json.dumps({"fingerprint": fingerprint(), "extras": extras}), encoding="utf-8")
    except SetupError:
        UNFINISHED.unlink()  # the tool ended by itself and tidied up: the next run may build on what is there
        raise
    UNFINISHED.unlink()


def install(extras, fresh):
    """The steps of a set-up; `fresh` starts from an empty folder."""
    if fresh:
        step("making the Python environment .venv",
             [getattr(sys, "_base_executable", sys.executable), "-m", "venv", "--clear", str(FOLDER)])
    pip = [str(python_path()), "-m", "pip", "--disable-pip-version-check"]
    constraints = ["--constraint", str(ROOT / "constraints.txt")]
    if wants_cpu_wheel(pip):
        # Alone and first: with the index among the others, pip would ask it for every package.
        step("installing PyTorch for the CPU (about 200 MB the first time)",
             [*pip, "install", "--no-deps", "--retries", "1", "--extra-index-url", CPU_WHEELS, *constraints, "torch"])
    package = "."
    if extras:
        package = f".[{','.join(extras)}]"
    step("installing the package and what it needs (minutes the first time)",
         [*pip, "install", *constraints, "--editable", package])


def same_python():
    """Whether a working environment of this Python version is there, from an earlier set-up or made by hand."""
    # Asked of itself: a venv whose base Python was removed or updated still has its files.
    probe = f"import sys, pip; print(sys.version_info[:2] == {sys.version_info[:2]})"
    if not python_path().exists():
        return False
    answer = subprocess.run([str(python_path()), "-c", probe], capture_output=True, text=True, check=False)
    return answer.stdout.strip() == "True"


def wants_cpu_wheel(pip):
    """Whether to look for PyTorch's CPU build: on Linux the default one brings gigabytes of CUDA libraries.

    A site that tells pip where packages come from (a mirror, a folder of wheels) is left to its own choice.
    """
    if platform.system() != "Linux" or shutil.which("nvidia-smi"):
        return False
    settings = subprocess.run([*pip, "config", "list"], capture_output=True, text=True, check=False).stdout
    return not any(name in settings for name in ("index-url", "find-links", "no-index"))


def step(text, command):
    """Runs one command with its output in the log. Raises SetupError with the log's last telling line."""
    print(f"{text} ...", file=sys.stderr, flush=True)
    with open(LOG, "a", encoding="utf-8") as log:
        code = subprocess.run(command, stdout=log, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL,
                              cwd=str(ROOT), check=False).returncode
    if code:
        output = LOG.read_text(encoding="utf-8", errors="replace")
        raise SetupError(f"{text} failed: {explain(output)}; details: {LOG}")


def explain(output):
    """The line of a tool's output which says best why it failed."""
    if "No space left on device" in output:
        return "the disk is full"
    if any(sign in output for sign in ("NameResolutionError", "NewConnectionError", "ConnectTimeout", "ProxyError")):
        return "the package index cannot be reached; is this computer online?"
    # pip's own verdict comes last; without one the last line that is not empty has to do.
    errors = [line.strip() for line in output.splitlines() if line.lower().startswith(("error", "fatal"))]
    lines = errors or [line.strip() for line in output.splitlines() if line.strip()] or ["no reason given"]
    return lines[-1]
