"""Libraries laid over the system's, which make calls fail as other people's file systems do."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.helpers.places import ROOT

#: Folders cannot be synced, as on SMB shares, in WSL and on some FUSE file systems.
NO_FOLDER_SYNC = """
int fsync(int file) {
    static int (*real)(int);
    struct stat status;
    if (!real) real = dlsym(RTLD_NEXT, "fsync");
    if (!fstat(file, &status) && S_ISDIR(status.st_mode)) { errno = EINVAL; return -1; }
    return real(file);
}
"""
#: Files cannot be locked, as on NFS without a lock service; LOCK_ERROR is the number.
NO_LOCKS = """
int flock(int file, int operation) { errno = atoi(getenv("LOCK_ERROR")); return -1; }
"""
#: Temporaries of this program get no more than ALLOWED bytes together; WRITE_ERROR is the number.
LITTLE_ROOM = """
static long written;
static int refused(int file, size_t bytes) {
    char link[64], path[4096];
    snprintf(link, sizeof link, "/proc/self/fd/%d", file);
    ssize_t length = readlink(link, path, sizeof path - 1);
    if (length < 0) return 0;
    path[length] = 0;
    if (!strstr(path, ".dexterank-")) return 0;
    written += bytes;
    if (written <= atol(getenv("ALLOWED"))) return 0;
    errno = atoi(getenv("WRITE_ERROR"));
    return 1;
}
ssize_t write(int file, const void *bytes, size_t count) {
    static ssize_t (*real)(int, const void *, size_t);
    if (!real) real = dlsym(RTLD_NEXT, "write");
    return refused(file, count) ? -1 : real(file, bytes, count);
}
ssize_t pwrite(int file, const void *bytes, size_t count, off_t at) {
    static ssize_t (*real)(int, const void *, size_t, off_t);
    if (!real) real = dlsym(RTLD_NEXT, "pwrite");
    return refused(file, count) ? -1 : real(file, bytes, count, at);
}
ssize_t pwrite64(int file, const void *bytes, size_t count, off_t at) {
    return pwrite(file, bytes, count, at);
}
"""
_HEADERS = ("dlfcn.h", "errno.h", "stdio.h", "stdlib.h", "string.h", "sys/stat.h", "unistd.h")


def compiled(source: str, folder: Path) -> dict[str, str]:
    """Compile a shim into a folder; return the variables that lay it over a process."""
    if sys.platform != "linux" or shutil.which("gcc") is None:
        pytest.skip("needs Linux and gcc to lay a library over the system's")
    head = "#define _GNU_SOURCE\n" + "".join(f"#include <{name}>\n" for name in _HEADERS)
    (folder / "shim.c").write_text(head + source)
    command = ["gcc", "-shared", "-fPIC", "-o", "shim.so", "shim.c", "-ldl"]
    subprocess.run(command, cwd=folder, check=True, capture_output=True)
    return {"LD_PRELOAD": str(folder / "shim.so")}


def run(*args: object, before: str = "", **variables: str) -> subprocess.CompletedProcess[str]:
    """Run a command of this program in a process of its own, after shell words such as ulimit."""
    command = [sys.executable, "-m", "pipeline", *map(str, args)]
    return subprocess.run(
        ["sh", "-c", f'{before} exec "$@"', "sh", *command],
        env=os.environ | {"PYTHONPATH": str(ROOT)} | variables,
        capture_output=True,
        text=True,
        errors="replace",
        timeout=300,
        check=False,
    )
