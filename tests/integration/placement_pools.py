# SPDX-License-Identifier: BSD-3-Clause
"""Random pools and keys for the placement test, all from one random number generator."""

import string
from dataclasses import dataclass, field

import harness

HASHES = ("one_at_a_time md5 crc16 crc32 crc32a fnv1_64 fnv1a_64 fnv1_32 fnv1a_32 hsieh murmur "
          "jenkins").split()
TAGS = ["{}", "||", "[]", "ab", ":;", "xx"]
# For these numbers of equal servers the rounding of floats takes points away.
ROUNDED = [25, 47, 50, 55]


@dataclass
class Server:
    number: int  # what it answers
    address: str
    weight: int
    given: str  # its name in the config, or ""

    @property
    def name(self):
        """The name by which it is placed and sorted."""
        if self.given:
            return self.given
        if self.address.startswith("/"):
            return self.address + ":"  # twemproxy leaves the colon before the weight
        host, _, port = self.address.rpartition(":")
        return host if port == "11211" else self.address

    @property
    def line(self):
        return f"{self.address}:{self.weight} {self.given}".strip()


@dataclass
class Pool:
    label: str
    kind: str  # redis or memcache
    hash: str
    distribution: str
    tag: str
    servers: list
    keys: list = field(repr=False, default_factory=list)

    def sorted_servers(self):
        """In twemproxy's order: by length of the name, then by its bytes."""
        return sorted(self.servers, key=lambda s: (len(s.name.encode()), s.name.encode()))

    def yaml(self, folder, **more):
        tag = {"hash_tag": self.tag} if self.tag else {}
        return harness.pool(self.label, self.listen(folder), [s.line for s in self.servers],
                            hash=self.hash, distribution=self.distribution,
                            redis=self.kind == "redis", backlog=512, **tag, **more)

    def listen(self, folder):
        return f"{folder}/{self.label}"


def wishes(folder, count):
    """What servers to ask for: on any address of the loopback, on memcached's own port (for which
    names are made in another way), on unix paths."""
    def host(i):
        return f"127.{40 + i % 80}.{i}.{1 + i * 7 % 250}"
    return [["127.0.0.1", host(i), f"{host(i)}:11211", f"{folder}/server{i}.sock"][i % 4]
            for i in range(count)]


def random_name(rng, number, style):
    letters = string.ascii_letters + string.digits + "-_.:/@+~"
    if style == "plain":
        return f"server{number}"
    if style == "redis":
        return f"10.0.{number % 7}.{number}:6379"
    if style == "utf8":
        return f"größe-{number}-猫"
    if style == "long":
        # From 273 bytes on it is cut before it is hashed.
        return rng.choice("xy") * rng.randint(200, 300) + f"/{number}"
    size = rng.choice([1, 2, 3, 8, 20])
    return "n" + "".join(rng.choice(letters) for _ in range(size)) + f"-{number}"


def random_weights(rng, count):
    style = rng.random()
    if style < 0.4:
        return [rng.choice([1, 1, 1, 10, 100])] * count
    if style < 0.8:
        return [rng.randint(1, 10) for _ in range(count)]
    return [rng.choice([1, 3, 50, 1000, 65535]) for _ in range(count)]


def random_servers(rng, addresses, count):
    style = rng.choice(["none", "none", "plain", "redis", "utf8", "long", "any", "mixed"])
    weights = random_weights(rng, count)
    numbers = rng.sample([i for i, address in enumerate(addresses) if address], count)
    servers = []
    for number, weight in zip(numbers, weights):
        named = style not in ("none", "mixed") or (style == "mixed" and rng.random() < 0.5)
        name = random_name(rng, number, "any" if style == "mixed" else style) if named else ""
        address = addresses[number]
        if address.startswith("127.0.0.1:") and rng.random() < 0.2:
            address = address.replace("127.0.0.1", "localhost")
        servers.append(Server(number, address, weight, name))
    return servers


def random_bytes(rng, size, kind):
    if kind == "redis":
        return rng.randbytes(size)
    # A key of memcached has no space and no control characters.
    return bytes(rng.choice(MEMCACHE_BYTES) for _ in range(size))


MEMCACHE_BYTES = [b for b in range(256) if b > 32 and b != 127]


def random_key(rng, kind, tag):
    style = rng.random()
    if style < 0.3:
        key = b"%s:%d" % (rng.choice([b"user", b"session", b"k", b"cart:items"]),
                          rng.randrange(10 ** rng.randint(1, 9)))
    elif style < 0.95:
        key = random_bytes(rng, rng.randint(1, 40), kind)
    else:
        key = random_bytes(rng, rng.randint(41, 250), kind)
    if tag and rng.random() < 0.7:
        first, second = tag.encode("latin-1")[:1], tag.encode("latin-1")[1:]
        inner = random_bytes(rng, rng.choice([0, 1, 2, 7]), kind)
        key = rng.choice([first + inner + second + key, key + first + inner + second,
                          key[:9] + first + inner + second + key[9:], second + key + first + inner,
                          first + key, key + second])
    return key[:250]


def random_keys(rng, kind, tag, count):
    keys = [random_key(rng, kind, tag) for _ in range(count)]
    if kind == "redis":
        keys[:3] = [b"", rng.randbytes(5000), rng.randbytes(16335)]
    return keys


def random_pool(rng, label, addresses, kind, hash_name, distribution, keys):
    count = rng.choice([1, 2, 3, *[rng.randint(1, 60)] * 4, rng.choice(ROUNDED), 60])
    tag = rng.choice(TAGS) if rng.random() < 0.4 else ""
    servers = random_servers(rng, addresses, count)
    return Pool(label, kind, hash_name, distribution, tag, servers,
                random_keys(rng, kind, tag, keys))
