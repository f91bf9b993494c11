#!/usr/bin/python3
# SPDX-License-Identifier: BSD-3-Clause
"""`./dev chaos`: cashew between hundreds of clients with tokens of their own and servers that fail in
every way, by a plan that a seed makes.

Every reply is checked: its token, its place, and when it comes. When the servers are well again the
proxy must be as it was: memory, descriptors, numbers, service. What is promised is told in
docs/reliability.md. The exit code is 0 only if nothing was wrong."""

import argparse
import os
import random
import shutil
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / "scripts"), str(ROOT / "tests" / "integration")]

# pylint: disable=wrong-import-position
import build
import test as stages
from world import World

# Resident memory may grow by this over that after the first rounds: a share, and bytes.
WARM_ROUNDS = 3
GROWTH = 1.2, 8 << 20
SHOWN_STEPS = 10
NETEM = ("delay", "2ms", "1ms", "loss", "0.5%")


def say(text):
    print(f"chaos: {text}", flush=True)


def refused(loop, binary):
    """Why this loop does not run here; None if it does."""
    if loop == "epoll":
        return None
    said = subprocess.run([binary, "-t", "--io=" + loop, "-c", os.devnull], check=False,
                          capture_output=True, text=True).stderr
    lines = [line for line in said.splitlines() if "uring" in line]
    return lines[0] if lines else None


# ---------------------------------------------------------------- a configuration

def report(world, options, config, round_number, log):
    """All that somebody needs who wants to see it again."""
    for text in world.violations[:10]:
        print(f"WRONG: {text}")
    print(f"---- the last faults of round {round_number} of {config}")
    for step in world.steps_done[-SHOWN_STEPS:]:
        print(f"  {step}")
    print("---- the end of the proxy's log")
    print(log[-6000:])
    loop, workers = config
    print(f"---- again: ./dev chaos --seed {options.seed} --loop {loop} --workers {workers} "
          f"--from-round {round_number} --build {options.build}", flush=True)


def rounds(world, options, config, seconds):
    """Rounds until the time is over; returns how many there were."""
    loop, workers = config
    end = time.monotonic() + seconds
    number, plateau, descriptors = options.from_round, 0, None
    while True:
        if descriptors is None:
            world.check_service()
            world.check_numbers()
            descriptors = world.descriptors()
        good = world.round(f"{options.seed}/{loop}/{workers}/{number}", options.round_seconds)
        if good:
            world.check_service()
            world.check_numbers()
            check_rest(world, descriptors)
            memory = world.memory()
            if number < options.from_round + WARM_ROUNDS:
                plateau = max(plateau, memory)
            elif options.build in ("release", "gcc") and \
                    memory > plateau * GROWTH[0] + GROWTH[1]:
                world.wrong(f"memory grew from {plateau >> 10} KiB to {memory >> 10} KiB")
        number += 1
        if world.violations or time.monotonic() >= end:
            return number, plateau


def check_rest(world, descriptors):
    """Nothing is left open."""
    world._until(lambda: world.descriptors() <= descriptors,
                 f"{descriptors} descriptors besides those of servers, as at the start")
    world._until(lambda: not world.close_waits(), "no socket in CLOSE-WAIT")


def run_config(config, options, binary, seconds):
    """Returns the replies that were checked; exits when something was wrong."""
    loop, workers = config
    os.environ["CASHEW_BIN"] = str(binary)
    if options.build in ("address", "thread"):
        os.environ["CASHEW_WRAPPER"] = " ".join(stages.aslr_off())
        os.environ.update(stages.SANITIZED)
    began = time.monotonic()
    world = World(loop, workers, options.clients, options.bound)
    number = options.from_round
    try:
        number, plateau = rounds(world, options, config, seconds)
        memory = world.memory() if world.proxy.running() else 0
    finally:
        log = world.close()
    if world.violations:
        report(world, options, config, number - 1, log)
        sys.exit(1)
    say(f"{loop}, {workers} worker{'s' if workers > 1 else ''}: "
        f"{number - options.from_round} rounds in {time.monotonic() - began:.0f} s, "
        f"{world.visitors} clients, {world.faults} faults, {world.replies} replies checked "
        f"({world.errors} errors that name their server), {world.closed} ended by the proxy, memory "
        f"{plateau >> 10} -> {memory >> 10} KiB")
    return world.replies


# ---------------------------------------------------------------- a network that delays and loses

def ip(*arguments):
    done = subprocess.run(["ip", *arguments], check=False, capture_output=True, text=True)
    return done.stderr.strip() or (f"ip {' '.join(arguments)} ended with {done.returncode}"
                                   if done.returncode else "")


def in_network(options):
    """The same once more in a network namespace whose loopback delays and loses packets. Where the
    machine cannot do that, the reason is printed. Returns the exit code."""
    name = f"cashew-chaos-{os.getpid()}"
    if not shutil.which("ip") or not shutil.which("tc"):
        say("skipped: delay and loss in a network namespace: no ip or tc here")
        return 0
    why = ip("netns", "add", name)
    if why:
        say(f"skipped: delay and loss in a network namespace: {why}")
        return 0
    try:
        why = ip("-n", name, "link", "set", "lo", "up")
        if not why:
            done = subprocess.run(["ip", "netns", "exec", name, "tc", "qdisc", "add", "dev", "lo",
                                   "root", "netem", *NETEM], check=False, capture_output=True,
                                  text=True)
            why = done.returncode and (done.stderr.strip() or "tc failed")
        if why:
            say(f"skipped: delay and loss in a network namespace: {why}")
            return 0
        say(f"in a network with {' '.join(NETEM)}:")
        return subprocess.run(["ip", "netns", "exec", name, sys.executable, __file__, "--no-network",
                               "--seed", str(options.seed), "--build", options.build,
                               "--seconds", str(max(5, options.seconds // 4)),
                               "--round-seconds", str(options.round_seconds),
                               "--clients", str(max(6, options.clients // 3)),
                               "--bound", str(options.bound * 3)], check=False).returncode
    finally:
        ip("netns", "del", name)


# ---------------------------------------------------------------- main

def arguments():
    parser = argparse.ArgumentParser(prog="./dev chaos", description=" ".join(__doc__.split("\n\n")[0].split()))
    parser.add_argument("--seed", type=int, help="of the faults and of what clients ask; printed")
    parser.add_argument("--minutes", type=float, default=1.0, help="all in all (1)")
    parser.add_argument("--seconds", type=float, help="the same in seconds")
    parser.add_argument("--build", default="release", choices=list(build.BUILDS),
                        help="which build (release); address and thread are sanitizers")
    parser.add_argument("--loop", choices=["epoll", "uring"], help="this loop only")
    parser.add_argument("--workers", type=int, help="this many workers only")
    parser.add_argument("--clients", type=int, default=150, help="connected at a time (150)")
    parser.add_argument("--round-seconds", type=float, default=5.0, help="faults in a row (5)")
    parser.add_argument("--from-round", type=int, default=0, help="begin with this round (0)")
    parser.add_argument("--bound", type=float, default=10.0,
                        help="seconds within which every request is answered (10)")
    parser.add_argument("--no-network", action="store_true",
                        help="without the part in a network namespace")
    options = parser.parse_args()
    options.seconds = options.seconds or options.minutes * 60
    if options.seed is None:
        options.seed = random.SystemRandom().randrange(1 << 32)
    return options


def main():
    options = arguments()
    binary = Path(os.environ["CASHEW_BIN"]) if os.environ.get("CASHEW_BIN") \
        else build.build(options.build)
    say(f"seed {options.seed}")
    configs = [(loop, workers) for loop in ("epoll", "uring") for workers in (1, 2)
               if options.loop in (None, loop) and options.workers in (None, workers)] \
        or [(options.loop or "epoll", options.workers)]
    total = 0
    for loop in ("epoll", "uring"):
        why = refused(loop, binary)
        if why:
            say(f"skipped: {loop}: {why}")
            configs = [config for config in configs if config[0] != loop]
    for config in configs:
        total += run_config(config, options, binary, options.seconds / len(configs))
    code = 0 if options.no_network else in_network(options)
    say(f"{total} replies checked, none wrong (seed {options.seed})")
    sys.exit(code)


if __name__ == "__main__":
    main()
