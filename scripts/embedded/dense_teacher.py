"""The teacher network hk13 as an ordinary U-Net in a bundle of ten organs, exactly the same function.

    python scripts/embedded/dense_teacher.py ../shared/data/teacher/hk13.onnx -o work/hk13-dense

hk13 (by others, for FLARE25; repository houkainiubi/flare25task2_hk) is an nnU-Net of separable convolutions: a
depthwise convolution, then a pointwise one, without anything between them. Each pair is therefore one dense one,

    W[o, i, k] = pointwise[o, i] * depthwise[i, k]
    b[o] = pointwise_bias[o] + sum_i pointwise[o, i] * depthwise_bias[i],

which a CPU computes faster although it has ten times the parameters. Its two adrenals count as one organ, its aorta and
inferior vena cava as background. Needs the package `onnx`.
"""

from __future__ import annotations

import argparse
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch

from PartialOrganSegLib.errors import Code, UserError
from PartialOrganSegLib.models.bundle import Bundle, Preprocessing
from PartialOrganSegLib.models.bundle_writing import write_bundle
from PartialOrganSegLib.models.checksums import sha256
from PartialOrganSegLib.networks import build_network
from PartialOrganSegLib.organs import label_space_of_names

SHA256 = "b8aacdd98d01f1e4befb239ce2f85417768d749a57ab48567e012b39461aadd3"
ORGANS = ["liver", "spleen", "left_kidney", "right_kidney", "stomach", "gallbladder", "esophagus", "pancreas",
          "duodenum", "adrenal"]
ROWS = [0, 1, 3, 13, 2, 11, 9, 10, 4, 12, 7]  # the teacher's class of the background and of each of ORGANS
MORE_ROWS, MORE_COUNT_AS = [5, 6, 8], [0, 0, 10]  # aorta, inferior vena cava, left adrenal: background twice, adrenal
ARGUMENTS: dict[str, Any] = {
    "features": [16, 32, 64, 128, 192], "kernels": [[3, 3, 3]] * 5, "encoder": [1, 1, 2, 2, 2],
    "decoder": [1, 1, 2, 2], "strides": [[1, 1, 1], [2, 2, 2], [2, 2, 2], [2, 2, 2], [1, 2, 2]], "bias": True,
    "residual": False, "transpose": [0, 1, 2], "flips": [True, True, False], "more": MORE_COUNT_AS}
# Windows that share half of their length, as hk13's own do, and hold at most 1.3 times as many voxels as its training
# patch: instance norm answers for the window it sees. In windows that are nowhere longer than the patch the ten organs
# lie as close to their references (.001 on average), at a third more time. A quarter of overlap takes half the time and
# loses .02 of a kidney.
PREPROCESSING = Preprocessing((1.97359, 1.53801, 1.53801), (-971.0, 291.0), 83.77856, 144.83893, (96, 160, 160),
                              overlap=0.5, fitted=1.3)
LICENCES = {
    "code": "Apache-2.0",
    "weights": "Research only. hk13 of the repository houkainiubi/flare25task2_hk (Apache-2.0 text; terms of the "
               "weights not stated apart), changed in form only",
    "data": "FLARE25, by hk13's authors"}


def dense_weights(onnx_file: Path) -> dict[str, torch.Tensor]:
    """The network's tensors by nnU-Net's own names, each depthwise and pointwise pair as one dense convolution."""
    import onnx
    from onnx import numpy_helper

    graph = onnx.load(onnx_file).graph
    tensors = {tensor.name: torch.from_numpy(numpy_helper.to_array(tensor).copy()) for tensor in graph.initializer}
    dense: dict[str, torch.Tensor] = {}
    merged: set[str] = set()
    nodes = list(graph.node)
    # Nothing lies between the two convolutions of a pair, so they are neighbours in the graph's order, too.
    for first, second in pairwise(nodes):
        if first.op_type != "Conv" or "depthwise" not in first.input[1]:
            continue
        if second.op_type != "Conv" or list(second.input[:1]) != list(first.output):
            raise UserError(code=Code.MODEL_UNFIT, subject=onnx_file,
                            expected=f"a pointwise convolution after {first.input[1]}", found=f"'{second.op_type}'")
        depthwise, pointwise = tensors[first.input[1]], tensors[second.input[1]][:, :, 0, 0, 0]
        bias = torch.zeros(len(pointwise))
        if len(second.input) > 2:
            bias = bias + tensors[second.input[2]]
        if len(first.input) > 2:
            bias = bias + pointwise @ tensors[first.input[2]]
        name = first.input[1].replace(".depthwise.weight", "")
        dense[f"{name}.weight"] = pointwise[:, :, None, None, None] * depthwise[:, 0][None]
        dense[f"{name}.bias"] = bias
        merged.update([*first.input[1:], *second.input[1:]])
    return dense | {name: value for name, value in tensors.items() if name not in merged}


def dense_network(onnx_file: Path) -> torch.nn.Module:
    """The network of ten organs, in eval mode. Raises UserError for another file than hk13.onnx."""
    checksum = sha256(onnx_file)
    if checksum != SHA256:
        raise UserError(code=Code.CHECKSUM_DIFFERS, subject=onnx_file, expected=f"hk13.onnx with SHA-256 {SHA256}",
                        found=checksum)
    network = build_network("nnunet_v2", 1, len(ORGANS) + 1, **ARGUMENTS)
    inner = network.get_submodule("own_axes")
    state = inner.state_dict()  # its coarser heads, which only deep supervision looks at, stay untrained
    finest = f"decoder.seg_layers.{len(ARGUMENTS['decoder']) - 1}"
    for name, value in dense_weights(onnx_file).items():
        if name.startswith(finest):
            state[name] = value[ROWS]
            state[name.replace("seg_layers", "more_layers")] = value[MORE_ROWS]
        elif name in state:
            state[name] = value
        else:
            raise UserError(code=Code.MODEL_UNFIT, subject=onnx_file, expected="nnU-Net's names", found=name)
    inner.load_state_dict(state)
    return network.eval()


def write_teacher(onnx_file: Path, folder: Path) -> Bundle:
    """Writes the bundle `hk13-dense`; `folder` must be new or hold an older one."""
    return write_bundle(
        folder, dense_network(onnx_file), "nnunet_v2", ARGUMENTS, label_space_of_names("hk13", ORGANS), PREPROCESSING,
        name="hk13-dense", version="1.0.0", licences=LICENCES, training_data=["FLARE25, by hk13's authors"], metrics={},
        description="Ten abdominal organs: hk13 (FLARE25, by others) with its separable convolutions merged. Research "
                    "only.",
        half=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("onnx", type=Path, help="hk13.onnx")
    parser.add_argument("-o", "--out", type=Path, required=True, help="folder of the bundle")
    arguments = parser.parse_args()
    bundle = write_teacher(arguments.onnx, arguments.out)
    print(f"{bundle.folder}: {bundle.name} {bundle.metadata.version}, {', '.join(bundle.label_space.names)}")


if __name__ == "__main__":
    main()
