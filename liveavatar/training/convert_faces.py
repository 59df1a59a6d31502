"""Convert the face networks of MediaPipe from tflite to the safetensors files that the package ships.

    pip download --no-deps mediapipe==0.10.21 && pip install tflite
    python -m liveavatar.training.convert_faces --wheel mediapipe-0.10.21-*.whl --to liveavatar/faces/weights \\
        --reference tests/data/faces_reference.npz

The detector keeps its half-precision weights exactly. The mesh is stored in 8 bits a number, each row with its scale,
beside two half-precision factors for the layers that return points: these hold what is largest in the matrix, so that
the 8 bits are spent on the rest.
"""

from __future__ import annotations

import argparse
import zipfile
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from liveavatar.faces.networks import LEFT, POINTS, RIGHT, WEIGHTS, FaceDetector, FaceMesh, load_networks
from liveavatar.faces.topology import EYE_REGIONS, LIPS_REGION
from liveavatar.weights import save_part, to_8_bits

DETECTOR = "mediapipe/modules/face_detection/face_detection_short_range.tflite"
MESH = "mediapipe/modules/face_landmark/face_landmark_with_attention.tflite"
SMALLEST_MATRIX = 1024
RANKS = {"points.weight": 14}       # of the factors beside a matrix in 8 bits
REGION_RANK = 8                     # the same for the points of lips, eyes and irises

Layer = tuple[Tensor, ...]          # weight and bias of a convolution, or the slopes of a PReLU


class Graph:
    """A tflite file, read just far enough to follow its layers from an output back to where its branch begins."""

    def __init__(self, data: bytes) -> None:
        from tflite import BuiltinOperator, Model

        names = {number: name for name, number in vars(BuiltinOperator).items() if isinstance(number, int)}
        self.model = Model.GetRootAs(data, 0)
        self.graph = self.model.Subgraphs(0)
        self.made_by: dict[int, tuple[str, list[int]]] = {}          # tensor -> operator and its inputs
        for index in range(self.graph.OperatorsLength()):
            operator = self.graph.Operators(index)
            code = self.model.OperatorCodes(operator.OpcodeIndex())
            name = names[max(code.BuiltinCode(), code.DeprecatedBuiltinCode())]
            for output in operator.OutputsAsNumpy():
                self.made_by[int(output)] = name, [int(tensor) for tensor in operator.InputsAsNumpy()]

    def outputs(self) -> list[int]:
        return [int(tensor) for tensor in self.graph.OutputsAsNumpy()]

    def constant(self, tensor: int) -> Tensor:
        """Return the numbers of a stored tensor, in float32."""
        while tensor in self.made_by and self.made_by[tensor][0] == "DEQUANTIZE":
            tensor = self.made_by[tensor][1][0]
        described = self.graph.Tensors(tensor)
        data = bytes(self.model.Buffers(described.Buffer()).DataAsNumpy())
        values = np.frombuffer(data, (np.float32, np.float16)[described.Type()])
        return torch.from_numpy(values.reshape(described.ShapeAsNumpy()).astype(np.float32))

    def branch(self, tensor: int) -> list[Layer]:
        """Return the layers that lead to a tensor, first one first, along the residual side of every addition."""
        layers: list[Layer] = []
        while tensor in self.made_by:
            name, inputs = self.made_by[tensor]
            if name in ("CONV_2D", "DEPTHWISE_CONV_2D"):
                order = (0, 3, 1, 2) if name == "CONV_2D" else (3, 0, 1, 2)
                layers.append((self.constant(inputs[1]).permute(*order), self.constant(inputs[2])))
            elif name == "PRELU":
                layers.append((self.constant(inputs[1]).flatten(),))
            elif name == "CUSTOM" and self.made_by[inputs[0]][0] != "RESHAPE":       # features are resampled here
                break
            tensor = next(one for one in inputs if self.made_by[one][0] == "CONV_2D") if name == "ADD" else inputs[0]
        return layers[::-1]


def fill(modules: Iterable[nn.Module], layers: list[Layer]) -> None:
    """Copy layers into the convolutions and PReLUs of modules, in their order; all of them must be used."""
    wanted = [layer for module in modules for layer in module.modules() if isinstance(layer, nn.Conv2d | nn.PReLU)]
    if len(wanted) != len(layers):
        raise ValueError(f"the file has {len(layers)} layers where the network has {len(wanted)}")
    with torch.no_grad():
        for layer, (weight, *bias) in zip(wanted, layers, strict=True):
            if layer.weight.shape != weight.shape:
                raise ValueError(f"a layer of shape {tuple(weight.shape)} does not fit {layer}")
            layer.weight.copy_(weight)
            if bias:
                layer.bias.copy_(bias[0])


def convert_detector(data: bytes) -> FaceDetector:
    """Convert the bytes of the detector's tflite file."""
    graph, network = Graph(data), FaceDetector()
    boxes, logits = graph.outputs()
    (fine_boxes, coarse_boxes), (fine_logits, coarse_logits) = (graph.made_by[both][1] for both in (boxes, logits))
    fill([network.stem, network.fine, network.coarse, network.coarse_boxes], graph.branch(coarse_boxes))
    for layer, output in ((network.coarse_logits, coarse_logits), (network.fine_boxes, fine_boxes),
                          (network.fine_logits, fine_logits)):
        fill([layer], graph.branch(output)[-1:])
    return network


def convert_mesh(data: bytes) -> FaceMesh:
    """Convert the bytes of the attention mesh's tflite file."""
    graph, network = Graph(data), FaceMesh()
    points, lips, first_eye, second_eye, first_iris, second_iris, presence = graph.outputs()
    spine = [network.stem, network.features, network.tower, network.squeeze, network.mix]
    fill([*spine, network.points], graph.branch(points))
    fill([network.presence], graph.branch(presence)[-1:])
    fill([network.lips.blocks, network.lips.outline], graph.branch(lips))
    for region, outline, iris in zip(network.eyes, (first_eye, second_eye), (first_iris, second_iris), strict=True):
        fill([region.blocks, region.outline], graph.branch(outline))
        fill([region.blocks, region.iris], graph.branch(iris))
    return network


def compress(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """Store matrices in 8 bits, those that return points beside two factors in half precision."""
    stored: dict[str, Tensor] = {}
    for name, tensor in tensors.items():
        rank = RANKS.get(name, REGION_RANK if name.endswith("points.weight") else 0)
        if rank:
            left, sizes, right = torch.linalg.svd(tensor.flatten(1), full_matrices=False)
            root = sizes[:rank].sqrt()
            factors = (left[:, :rank] * root).half().contiguous(), (right[:rank] * root[:, None]).half().contiguous()
            stored[name + LEFT], stored[name + RIGHT] = factors
            tensor = tensor - (factors[0].float() @ factors[1].float()).view_as(tensor)
        stored |= to_8_bits({name: tensor}, SMALLEST_MATRIX)
    return stored


def deviations(detector: FaceDetector, mesh: FaceMesh, reference: Path) -> str:
    """Compare networks with what MediaPipe's interpreter returned (benchmarks/faces_reference.py): largest differences.

    Points of the mesh before refinement, lips and presence of faces; boxes and logits of the detector.
    """
    known = {name: torch.from_numpy(values) for name, values in np.load(reference).items()}
    pictures = {name: known[f"{name}_pictures"].permute(0, 3, 1, 2) / 255 for name in ("detector", "mesh")}
    with torch.no_grad():
        boxes, logits = detector(pictures["detector"])
        raw = mesh(pictures["mesh"])
    boxes = boxes.gather(1, known["detector_best"].long()[..., None].expand(-1, -1, 16))
    refined = {*LIPS_REGION, *EYE_REGIONS[0], *EYE_REGIONS[1]}
    rest = [point for point in range(POINTS) if point not in refined]
    pairs = {"boxes, px of 128": (boxes, known["detector_0"]), "logits": (logits, known["detector_1"]),
             "points, px of 192": (raw.points[:, rest], known["mesh_0"].unflatten(1, (-1, 3))[:, rest]),
             "lips, px of 192": (raw.points[:, LIPS_REGION, :2], known["mesh_1"].unflatten(1, (-1, 2))),
             "irises, px of 192": (raw.points[:, POINTS:POINTS + 5, :2], known["mesh_4"].unflatten(1, (-1, 2))),
             "presence, logit": (raw.presence, known["mesh_6"][:, 0])}
    return "; ".join(f"{name}: {(ours - theirs).abs().max():.1e}" for name, (ours, theirs) in pairs.items())


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--wheel", type=Path, required=True, help="mediapipe-0.10.21-*.whl; it is only unzipped")
    parser.add_argument("--to", type=Path, default=WEIGHTS)
    parser.add_argument("--reference", type=Path, help="tests/data/faces_reference.npz, to say how exact both are")
    arguments = parser.parse_args(argv)
    with zipfile.ZipFile(arguments.wheel) as wheel:
        detector, mesh = convert_detector(wheel.read(DETECTOR)), convert_mesh(wheel.read(MESH))
    save_part(arguments.to, "detector", detector.state_dict(), {"from": DETECTOR}, torch.float16)
    save_part(arguments.to, "mesh", compress(mesh.state_dict()), {"from": MESH})
    if arguments.reference:
        print("converted:", deviations(detector.eval(), mesh.eval(), arguments.reference))
        print("as stored:", deviations(*load_networks(folder=arguments.to), arguments.reference))


if __name__ == "__main__":
    main()
