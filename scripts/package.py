#!/usr/bin/python3
# SPDX-License-Identifier: BSD-3-Clause
"""Makes what is handed out, of the last commit: a source tarball (`meson dist`) and, from that tarball alone, Debian
packages that lintian finds nothing wrong with. All of it goes to build-package/."""

import argparse
import email.utils
import os
import re
import shutil
import subprocess
import sys
import tarfile
from pathlib import Path

import build

ROOT = build.ROOT
OUT = ROOT / "build-package"


def call(*command, cwd=ROOT, log=None, env=None):
    """Runs a program that must end with 0; with `log` what it says goes there, and is shown if it fails."""
    command = [str(part) for part in command]
    if log is None:
        done = subprocess.run(command, cwd=cwd, check=False, env=env)
    else:
        with open(log, "wb") as out:
            done = subprocess.run(command, cwd=cwd, check=False, env=env, stdout=out, stderr=subprocess.STDOUT)
        if done.returncode:
            sys.stderr.write("".join(log.read_text(errors="replace").splitlines(True)[-40:]))
    if done.returncode:
        sys.exit(f"dev: {command[0]} ended with {done.returncode}")


def asked(*command):
    return subprocess.run([str(part) for part in command], cwd=ROOT, check=True, text=True,
                          stdout=subprocess.PIPE).stdout.strip()


def tarball():
    """The last commit as a tarball; its path."""
    if asked("git", "status", "--porcelain", "--untracked-files=no"):
        print("dev: what is not committed does not go into the packages", file=sys.stderr)
    where = OUT / "meson"
    call("meson", "setup", "-Dtests=false", where, log=OUT / "dist.log")
    call("meson", "dist", "-C", where, "--no-tests", "--allow-dirty", "--formats", "gztar", log=OUT / "dist.log")
    made, = (where / "meson-dist").glob("*.tar.gz")
    for file in (made, made.with_name(made.name + ".sha256sum")):
        shutil.copy(file, OUT)
    shutil.rmtree(where)
    return OUT / made.name


def maintainer():
    """Who answers for the packages, as Debian's tools have it; None if nobody was named."""
    name, address = os.environ.get("DEBFULLNAME"), os.environ.get("DEBEMAIL")
    return email.utils.formataddr((name or "cashew", address)) if address else None


def changelog(version, who):
    date = email.utils.formatdate(int(asked("git", "log", "-1", "--format=%ct")))
    # A revision that any of Debian's own is newer than.
    return (f"cashew ({version}-0upstream1) unstable; urgency=medium\n\n"
            f"  * Version {version}; what is new is in the changelog of cashew itself.\n\n"
            f" -- {who}  {date}\n")


def unpack(source, version):
    """The tarball as a tree that dpkg-buildpackage takes; its path."""
    work = OUT / "debian"
    work.mkdir()
    shutil.copy(source, work / f"cashew_{version}.orig.tar.gz")
    with tarfile.open(source) as archive:
        archive.extractall(work)
    tree = work / f"cashew-{version}"
    debian = tree / "debian"
    shutil.copytree(tree / "packaging" / "debian", debian)
    who = maintainer() or "cashew <nobody@localhost>"
    control = debian / "control"
    control.write_text(control.read_text().replace("@MAINTAINER@", who))
    (debian / "changelog").write_text(changelog(version, who))
    return tree


def debian_packages(source, version):
    """Builds the packages and has them judged; returns their paths."""
    tree = unpack(source, version)
    jobs = os.environ.get("CASHEW_JOBS") or str(os.cpu_count())
    call("dpkg-buildpackage", "-us", "-uc", f"-j{jobs}", cwd=tree, log=OUT / "build.log")
    changes, = tree.parent.glob("*.changes")
    # A package for oneself needs no address that is valid everywhere; one for others does.
    lenient = [] if maintainer() else ["--suppress-tags", "bogus-mail-host-in-debian-changelog,bogus-mail-host"]
    call("lintian", "--fail-on", "error,warning", *lenient, changes)
    shutil.rmtree(tree)
    packages = []
    for package in sorted(tree.parent.glob("*.deb")):
        if "-dbgsym_" not in package.name:
            packages.append(Path(shutil.copy(package, OUT)))
    return packages


def main():
    parser = argparse.ArgumentParser(prog="./dev package", description=__doc__)
    parser.add_argument("--source", action="store_true", help="the tarball only")
    arguments = parser.parse_args()
    shutil.rmtree(OUT, ignore_errors=True)
    OUT.mkdir()
    made = [tarball()]
    version = re.fullmatch(r"cashew-(.+)\.tar\.gz", made[0].name).group(1)
    if not arguments.source:
        made += debian_packages(made[0], version)
    for path in made:
        print(path.relative_to(ROOT))


if __name__ == "__main__":
    main()
