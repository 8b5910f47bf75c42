"""Atheris on every decoder of bodies: `python -m tests.fuzz.decoders --runs 20000 [--only npz]`.

Coverage-guided bytes, begun from one sound body of each media type. Whatever comes of them is rows or a problem: any
other exception, a crash of native code, or memory beyond the bound ends the run with the input that did it. Atheris is
no dependency: install it to run this.
"""

import argparse
import sys
import tempfile
from pathlib import Path


def main() -> None:
    import atheris

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=20_000)
    parser.add_argument("--only", default="", help="part of a media type")
    given = parser.parse_args()
    with atheris.instrument_imports(include=["app.uploads"]):  # before anything imports what is to be followed
        from tests.fuzz.bodies import SOUND, decoded
    chosen = [media_type for media_type in SOUND if given.only in media_type]
    with tempfile.TemporaryDirectory() as name:
        folder, corpus = Path(name), Path(name) / "corpus"
        corpus.mkdir()
        for number, media_type in enumerate(chosen):
            (corpus / str(number)).write_bytes(bytes([number]) + SOUND[media_type])

        def one(data: bytes) -> None:
            if data:
                decoded(chosen[data[0] % len(chosen)], data[1:], folder)

        atheris.Setup([sys.argv[0], f"-runs={given.runs}", "-max_len=8192", "-rss_limit_mb=4096", str(corpus)], one)
        atheris.Fuzz()


if __name__ == "__main__":
    main()
