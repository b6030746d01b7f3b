"""Writes weak_rsa.json: RSA moduli with known flaws. Run by hand; the seed makes it give the same file each time."""

from __future__ import annotations

import json
import math
import random
from pathlib import Path

E = 65537


def is_prime(number: int, chooser: random.Random) -> bool:
    """Miller-Rabin, 24 rounds."""
    if any(number % prime == 0 for prime in (2, 3, 5, 7, 11, 13, 17, 19, 23, 29, 31)):
        return False
    odd, twos = number - 1, 0
    while odd % 2 == 0:
        odd, twos = odd // 2, twos + 1
    for _ in range(24):
        power = pow(chooser.randrange(2, number - 1), odd, number)
        if power in (1, number - 1):
            continue
        for _ in range(twos - 1):
            power = power * power % number
            if power == number - 1:
                break
        else:
            return False
    return True


def next_prime(start: int, chooser: random.Random) -> int:
    number = start | 1
    while not (is_prime(number, chooser) and math.gcd(number - 1, E) == 1):
        number += 2
    return number


def first_primes(count: int) -> list[int]:
    primes: list[int] = []
    candidate = 2
    while len(primes) < count:
        if all(candidate % prime for prime in primes):
            primes.append(candidate)
        candidate += 1
    return primes


def roca_prime(bits: int, primorial: int, chooser: random.Random) -> int:
    """p = k * M + (65537^a mod M), as in Nemec et al., section 2.1."""
    while True:
        rest = pow(E, chooser.getrandbits(60), primorial)
        k = (1 << (bits - 1) | 1 << (bits - 2) | chooser.getrandbits(bits - 2)) // primorial
        candidate = k * primorial + rest
        if candidate.bit_length() == bits and is_prime(candidate, chooser):
            return candidate


def main() -> None:
    chooser = random.Random(20171015)
    vectors = []
    for bits, primes in ((2048, 126), (3072, 126)):
        primorial = math.prod(first_primes(primes))
        p, q = (roca_prime(bits // 2, primorial, chooser) for _ in range(2))
        vectors.append({"flaw": "roca", "p": hex(p), "q": hex(q)})
    half = 1 << 1023 | 1 << 1022
    p = next_prime(half | chooser.getrandbits(1022), chooser)
    vectors.append({"flaw": "close", "p": hex(p), "q": hex(next_prime(p + 2, chooser))})
    q = next_prime(p + (chooser.getrandbits(500) | 1 << 499), chooser)
    vectors.append({"flaw": "close", "p": hex(p), "q": hex(q)})
    vectors.append({"flaw": "square", "p": hex(p), "q": hex(p)})
    large = next_prime(1 << 2046 | chooser.getrandbits(2046), chooser)
    vectors.append({"flaw": "small", "p": hex(1999), "q": hex(large)})
    vectors.append({"flaw": "small", "p": hex(3), "q": hex(large)})
    Path(__file__).with_name("weak_rsa.json").write_text(json.dumps(vectors, indent=1) + "\n")


if __name__ == "__main__":
    main()
