"""Make tests/data/faces_reference.npz: what MediaPipe's own interpreter returns for a few drawn pictures.

    python benchmarks/faces_reference.py pictures                          # here: rendered avatars and noise
    python3.11 -m venv mp && mp/bin/pip install mediapipe==0.10.21         # another environment: it wants numpy < 2
    mp/bin/python benchmarks/faces_reference.py outputs

The attention mesh has operators of MediaPipe's own, which other readers of tflite do not know.
"""

import argparse
from pathlib import Path

import numpy as np

FIXTURE = Path(__file__).parent.parent / "tests" / "data" / "faces_reference.npz"
MODELS = {      # name -> file in the wheel, side in px, range of the input, outputs
    "detector": ("face_detection/face_detection_short_range.tflite", 128, -1.0, 2),
    "mesh": ("face_landmark/face_landmark_with_attention.tflite", 192, 0.0, 7),
}
GRAPH = """
input_stream: "image"
%(streams)s
node { calculator: "TfLiteCustomOpResolverCalculator" output_side_packet: "OP_RESOLVER:resolver" }
node { calculator: "ImageToTensorCalculator" input_stream: "IMAGE:image" output_stream: "TENSORS:in"
  options { [mediapipe.ImageToTensorCalculatorOptions.ext] {
    output_tensor_width: %(side)d output_tensor_height: %(side)d
    output_tensor_float_range { min: %(low).1f max: 1.0 } } } }
node { calculator: "InferenceCalculator" input_stream: "TENSORS:in" output_stream: "TENSORS:out"
  input_side_packet: "OP_RESOLVER:resolver"
  options { [mediapipe.InferenceCalculatorOptions.ext] { model_path: "%(path)s" delegate { xnnpack {} } } } }
node { calculator: "SplitTensorVectorCalculator" input_stream: "out" %(parts)s
  options { [mediapipe.SplitVectorCalculatorOptions.ext] { %(ranges)s } } }
%(floats)s
"""


def make_pictures() -> None:
    """Store pictures as the networks see them, uint8: two avatars, one of them turned, and coarse noise."""
    import torch

    from liveavatar.avatars import avatar
    from liveavatar.faces.crops import Squares, sample
    from liveavatar.faces.detection import detect_faces
    from liveavatar.faces.mesh import squares_of_faces

    stored = {}
    pictures = torch.stack([avatar(seed, size=(256, 256)).pixels for seed in (1, 7)])
    noise = torch.rand(1, 3, 9, 9, generator=torch.Generator().manual_seed(0))
    whole = Squares(torch.arange(2), torch.full((2, 2), 128.0), torch.full((2,), 256.0), torch.tensor([0.0, 0.3]))
    faces = squares_of_faces(detect_faces(pictures))
    for name, squares in (("detector", whole), ("mesh", faces)):
        side = MODELS[name][1]
        batch = torch.cat([sample(pictures, squares, side), torch.nn.functional.interpolate(noise, (side, side))])
        stored[f"{name}_pictures"] = (batch * 255).round().byte().permute(0, 2, 3, 1).contiguous().numpy()
    np.savez_compressed(FIXTURE, **stored)


def make_outputs() -> None:
    """Run MediaPipe's interpreter on the stored pictures and store what it returns beside them."""
    stored = dict(np.load(FIXTURE))
    for name in MODELS:
        for number, values in enumerate(run(name, stored[f"{name}_pictures"])):
            stored[f"{name}_{number}"] = values
    best = stored["detector_1"].argsort(1)[:, -40:]                        # the boxes of the others are of no use
    stored["detector_best"] = best.astype(np.int16)
    stored["detector_0"] = np.take_along_axis(stored["detector_0"].reshape(len(best), -1, 16), best[..., None], 1)
    np.savez_compressed(FIXTURE, **stored)


def run(name: str, pictures: np.ndarray) -> list[np.ndarray]:
    """Return every output of a model for pictures (B, side, side, 3) uint8: arrays (B, numbers)."""
    import mediapipe

    file, side, low, count = MODELS[name]
    path = Path(mediapipe.__file__).parent / "modules" / file
    graph = mediapipe.CalculatorGraph(graph_config=GRAPH % {
        "side": side, "low": low, "path": path,
        "streams": "\n".join(f'output_stream: "floats_{one}"' for one in range(count)),
        "parts": " ".join(f'output_stream: "part_{one}"' for one in range(count)),
        "ranges": " ".join(f"ranges: {{ begin: {one} end: {one + 1} }}" for one in range(count)),
        "floats": "\n".join(f'node {{ calculator: "TensorsToFloatsCalculator" input_stream: "TENSORS:part_{one}" '
                            f'output_stream: "FLOATS:floats_{one}" }}' for one in range(count))})
    found: dict[tuple[int, int], list[float]] = {}
    for one in range(count):
        graph.observe_output_stream(f"floats_{one}", lambda _, packet, one=one: found.__setitem__(
            (one, packet.timestamp.value), mediapipe.packet_getter.get_float_list(packet)), True)
    graph.start_run()
    for time, picture in enumerate(pictures):
        image = mediapipe.packet_creator.create_image_frame(image_format=mediapipe.ImageFormat.SRGB, data=picture)
        graph.add_packet_to_input_stream("image", image.at(time))
        graph.wait_until_idle()
    graph.close()
    return [np.array([found[one, time] for time in range(len(pictures))], np.float32) for one in range(count)]


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("what", choices=("pictures", "outputs"))
    make_pictures() if parser.parse_args().what == "pictures" else make_outputs()
