"""`partialorganseg serve`: segments for others, over HTTP on this computer or the network, or one request by SSH."""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from pathlib import Path

from ..errors import Code, UsageError
from ..events import Reporter
from .options import add_common_options, add_device_option, whole_number

HELP = "Segment for other computers: over HTTP with a token, or for one request by SSH."
EXAMPLE = """partialorganseg serve
  partialorganseg serve --host 10.0.0.5 --certificate server.pem --key server.key --token-file token
  partialorganseg segment scan.nii.gz -o results --on https://10.0.0.5:8321 --token-file token --authority server.pem
  partialorganseg segment scan.nii.gz -o results --on ssh://gpu.hospital.example"""
DEFAULT_PORT = 8321


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--model", default="embedded", help="an installed model's name or a bundle's folder "
                        "(default: embedded)")
    parser.add_argument("--host", default="127.0.0.1", help="the address to listen on (default: 127.0.0.1, which only "
                        "this computer can reach)")
    parser.add_argument("--port", type=int, default=DEFAULT_PORT, help=f"the port (default: {DEFAULT_PORT}; 0: any)")
    parser.add_argument("--token-file", type=Path, metavar="FILE", help="the file with the token that every request "
                        "must show; made where there is none (default: serve-token beside your models)")
    parser.add_argument("--certificate", type=Path, metavar="PEM", help="the server's certificate: speaks TLS")
    parser.add_argument("--key", type=Path, metavar="PEM", help="the certificate's key, where it is not in its file")
    parser.add_argument("--without-tls", action="store_true", help="also serve the network without a certificate: "
                        "CTs and the token travel readable")
    parser.add_argument("--largest", type=whole_number, default=2048, metavar="MIB",
                        help="the largest file of a CT that is taken (default: 2048)")
    parser.add_argument("--waiting", type=int, default=4, metavar="N", help="how many requests may wait while one is "
                        "worked at (default: 4); more are refused")
    parser.add_argument("--once", action="store_true", help="answer one request from standard input on standard "
                        "output, as SSH asks")
    add_device_option(parser)
    add_common_options(parser)


def run(arguments: argparse.Namespace, reporter: Reporter) -> int:
    """Serves until it is cancelled."""
    from ..segmenting.options import SegmentOptions
    from ..segmenting.segmenter import Segmenter
    from ..serving.http_server import HttpServer, is_loopback, tls_context
    from ..serving.service import Limits, Service
    from ..serving.token import default_token_file, make_token, read_token

    if arguments.waiting < 0:
        raise UsageError(code=Code.VALUE_OUT_OF_RANGE, subject="--waiting", expected="0 or more",
                         found=arguments.waiting)
    if not (arguments.once or arguments.certificate or arguments.without_tls or is_loopback(arguments.host)):
        raise UsageError(code=Code.SETTING_MISSING, subject=f"--host {arguments.host}",
                         expected="a certificate, since others can listen there", found="none",
                         hint="--certificate, or --without-tls where the network is yours alone")
    segmenter = Segmenter(SegmentOptions(model=arguments.model, device=arguments.device))
    limits = Limits(arguments.largest << 20, arguments.waiting)
    scratch = Path(tempfile.gettempdir())
    segmenter.prepare()
    if arguments.once:
        return _answer_once(Service(segmenter, scratch, limits))
    token_file = arguments.token_file or default_token_file()
    is_new = make_token(token_file)
    token, tls, scheme = read_token(token_file), None, "http"
    if arguments.certificate is not None:
        tls, scheme = tls_context(arguments.certificate, arguments.key), "https"
    service = Service(segmenter, scratch, limits, lambda line: print(line, file=sys.stderr, flush=True))
    with HttpServer(arguments.host, arguments.port, service, token, tls) as server:
        host = arguments.host
        if ":" in host:
            host = f"[{host}]"
        address = f"{scheme}://{host}:{server.server_port}"
        reporter.started(command="serve", address=address, model=segmenter.bundle.name, token_file=token_file,
                         token_made=is_new)
        print(f"{segmenter.bundle.name} answers at {address}; the token is in {token_file}", flush=True)
        server.serve_forever()
    return 0


def _answer_once(service: object) -> int:
    """One request over standard input and output. SSH has checked who asks."""
    from ..serving.service import Abandoned, Service

    assert isinstance(service, Service)
    # the process's own streams: what libraries print must not lie between the events
    output = os.fdopen(os.dup(1), "wb", buffering=0)
    os.dup2(2, 1)

    def send(data: bytes) -> None:
        view = memoryview(data)
        try:
            while view:
                view = view[output.write(view):]
        except OSError as error:
            raise Abandoned from error

    try:
        service.answer(sys.stdin.buffer, send)
    except Abandoned:
        return 1
    return 0
