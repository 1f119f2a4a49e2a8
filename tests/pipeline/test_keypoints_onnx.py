"""A user's ONNX pose network: tiny networks written here byte by byte, whose answers are known.

Joint 0 is where the crop is red, joint 1 where it is green, joint 2 where it is blue; the others are nowhere.
"""

import numpy as np
import pytest

from pipeline.errors import InputError
from pipeline.keypoints.detector import Instance, InstanceList
from pipeline.keypoints.onnx_file import input_shapes
from pipeline.keypoints.onnx_pose import OnnxPose, PoseNetwork
from pipeline.skeletons import BLAZEPOSE33

WIDTH, HEIGHT = 48, 64


def field(number: int, value) -> bytes:
    """A Protocol Buffers field: whole numbers as varint, text and bytes with their length."""
    if isinstance(value, int):
        return varint(number << 3) + varint(value)
    data = value.encode() if isinstance(value, str) else value
    return varint(number << 3 | 2) + varint(len(data)) + data


def varint(value: int) -> bytes:
    value &= (1 << 64) - 1
    out = bytearray()
    while True:
        out.append(value & 0x7F | (0x80 if value > 0x7F else 0))
        value >>= 7
        if not value:
            return bytes(out)


def tensor(name: str, values: np.ndarray) -> bytes:
    kind = {np.dtype(np.float32): 1, np.dtype(np.int64): 7}[values.dtype]
    return (
        b"".join(field(1, int(n)) for n in values.shape) + field(2, kind) + field(8, name) + field(9, values.tobytes())
    )


def value_info(name: str, shape) -> bytes:
    dims = b"".join(field(1, field(1, d) if isinstance(d, int) else field(2, d)) for d in shape)
    return field(1, name) + field(2, field(1, field(1, 1) + field(2, dims)))


def node(op: str, inputs, outputs, **attributes) -> bytes:
    body = b"".join(field(1, i) for i in inputs) + b"".join(field(2, o) for o in outputs) + field(4, op)
    for name, value in attributes.items():
        if isinstance(value, int):
            body += field(5, field(1, name) + field(3, value) + field(20, 2))
        else:
            body += field(5, field(1, name) + b"".join(field(8, v) for v in value) + field(20, 7))
    return body


def model(nodes, weights, inputs, outputs) -> bytes:
    graph = b"".join(field(1, n) for n in nodes) + field(2, "tiny")
    graph += b"".join(field(5, w) for w in weights)
    graph += b"".join(field(11, i) for i in inputs) + b"".join(field(12, o) for o in outputs)
    return field(1, 8) + field(7, graph) + field(8, field(1, "") + field(2, 13))


def colour_weights(joints: int, stride: int) -> np.ndarray:
    """Convolution that answers to one pure colour a joint and to nothing from joint 3 on."""
    weights = np.zeros((joints, 3, stride, stride), np.float32)
    for j in range(3):
        weights[j] = -0.1 / stride**2
        weights[j, j] = 0.4 / stride**2
    return weights


def heatmap_model(joints=17, shape=(1, 3, HEIGHT, WIDTH), listed_weights=False) -> bytes:
    weights = tensor("w", colour_weights(joints, 4))
    nodes = [
        node("Conv", ["image", "w"], ["raw"], kernel_shape=[4, 4], strides=[4, 4]),
        node("Relu", ["raw"], ["maps"]),
    ]
    inputs = [value_info("image", shape)] + ([value_info("w", (joints, 3, 4, 4))] if listed_weights else [])
    return model(nodes, [weights], inputs, [value_info("maps", (1, joints, HEIGHT // 4, WIDTH // 4))])


def simcc_model(joints=17, rows_first=False) -> bytes:
    """One score a column and one a row; enlarged twofold, as RTMPose splits pixels."""
    spread = np.tile(colour_weights(joints, 1).transpose(1, 0, 2, 3), (1, 1, 2, 2))
    weights = [tensor("w", np.ascontiguousarray(spread))]
    nodes = [
        node("ConvTranspose", ["image", "w"], ["raw"], kernel_shape=[2, 2], strides=[2, 2]),
        node("Relu", ["raw"], ["maps"]),
        node("ReduceMax", ["maps"], ["x"], axes=[2], keepdims=0),
        node("ReduceMax", ["maps"], ["y"], axes=[3], keepdims=0),
    ]
    outputs = [value_info("x", (1, joints, 2 * WIDTH)), value_info("y", (1, joints, 2 * HEIGHT))]
    if rows_first:
        outputs = outputs[::-1]
    return model(nodes, weights, [value_info("image", (1, 3, HEIGHT, WIDTH))], outputs)


def write(tmp_path, data: bytes, name="net.onnx"):
    path = tmp_path / name
    path.write_bytes(data)
    return path


def picture():
    """A black image with a red, a green and a blue square, and their middles."""
    image = np.zeros((240, 320, 3), np.uint8)
    middles = np.array([[120.0, 60.0], [180.0, 100.0], [150.0, 190.0]])
    for channel, (x, y) in enumerate(middles.astype(int)):
        image[y - 8 : y + 9, x - 8 : x + 9, channel] = 255
    return image, middles


BOX = np.array([100.0, 40.0, 200.0, 210.0])


@pytest.mark.parametrize("joints", [17, 25, 33])
def test_heat_maps_are_read(tmp_path, joints):
    network = PoseNetwork(write(tmp_path, heatmap_model(joints)))
    assert network.size == (WIDTH, HEIGHT) and network.joints == joints
    assert network.joint_set == {17: "coco17", 25: "body25", 33: "blazepose33"}[joints]
    image, middles = picture()
    points, scores = network.run(image, BOX)
    scale = 170 * 1.25 / HEIGHT
    assert np.abs(points[:3] - middles).max() < 4 * scale  # a cell is four pixels of the crop
    assert (scores[:3] > 0.3).all() and (scores[3:] == 0).all() and np.isnan(points[3:]).all()


@pytest.mark.parametrize("rows_first", [False, True])
def test_columns_and_rows_are_read(tmp_path, rows_first):
    network = PoseNetwork(write(tmp_path, simcc_model(rows_first=rows_first)))
    image, middles = picture()
    points, scores = network.run(image, BOX)
    # The first of equal scores counts: the corner of the square, not its middle.
    assert np.abs(points[:3] - (middles - 8)).max() < 6
    assert (scores[:3] > 0.3).all() and (scores[3:] == 0).all()


def test_boxes_beyond_the_image_do_no_harm(tmp_path):
    network = PoseNetwork(write(tmp_path, heatmap_model()))
    image, _ = picture()
    points, scores = network.run(image, np.array([-500.0, -500.0, -400.0, -300.0]))
    assert (scores == 0).all() and np.isnan(points).all()


class Standing:
    """People who are always in the same box, in place of BlazePose."""

    def steps(self, frames):
        for number, image in frames:
            yield number, image, [Instance(np.zeros((33, 2)), np.ones(33), BOX, 0.9, 4)]

    def in_crops(self, image, boxes, keypoints=None):
        out = InstanceList("blazepose33", 33)
        out.start_frame(0)
        for row, box in enumerate(boxes):
            out.add(np.zeros((33, 2)), np.ones(33), box, 0.9 if row == 0 else 0.0, row)
        return out.finish()

    def beside(self, image, keypoints):
        return self.in_crops(image, [BOX])


def test_people_keep_their_tracks_and_get_the_networks_joints(tmp_path):
    image, middles = picture()
    detector = OnnxPose(write(tmp_path, heatmap_model()), Standing())
    found = detector.run([(t, image) for t in range(5)], 2)
    assert found.joint_set == "coco17" and found.frames.tolist() == [2, 3, 4]
    assert found.keypoints.shape == (3, 17, 2) and found.tracks.tolist() == [4, 4, 4]
    assert np.nanmax(np.abs(found.keypoints[:, :3] - middles)) < 15


def test_looking_again_leaves_empty_boxes_empty(tmp_path):
    image, middles = picture()
    found = OnnxPose(write(tmp_path, heatmap_model()), Standing()).in_crops(image, np.stack([BOX, BOX]))
    assert found.joint_set == "coco17" and found.box_scores.tolist() == [np.float32(0.9), 0.0]
    assert np.abs(found.keypoints[0, :3] - middles).max() < 15 and np.isnan(found.keypoints[1]).all()


def test_people_beside_others_get_the_networks_joints_too(tmp_path):
    image, middles = picture()
    found = OnnxPose(write(tmp_path, heatmap_model()), Standing()).beside(image, np.zeros((1, 33, 2)))
    assert found.joint_set == "coco17" and np.abs(found.keypoints[0, :3] - middles).max() < 15


def test_a_person_alone_is_what_is_not_painted_over(tmp_path):
    image, middles = picture()
    hidden = np.zeros(image.shape[:2], bool)
    x, y = middles[1].astype(int)
    hidden[y - 12 : y + 13, x - 12 : x + 13] = True
    hints = np.full((33, 2), np.nan)
    for name, y in (("shoulder", 80.0), ("hip", 140.0), ("ankle", 220.0)):
        for side, x in (("left", 170.0), ("right", 130.0)):
            hints[BLAZEPOSE33.index(f"{side}_{name}")] = x, y
    detector = OnnxPose(write(tmp_path, heatmap_model()), Standing())
    points, scores = detector.alone(image, hidden, hints)
    # five turned crops of a network that turns nothing: what they agree on is where the squares are
    assert np.abs(points[[0, 2]] - middles[[0, 2]]).max() < 15 and (scores[[0, 2]] > 0.05).all()
    assert scores[1] < 0.5 * scores[[0, 2]].min()


def test_shapes_of_inputs_are_found(tmp_path):
    assert input_shapes(write(tmp_path, heatmap_model())) == [(1, 3, HEIGHT, WIDTH)]
    assert input_shapes(write(tmp_path, heatmap_model(listed_weights=True))) == [(1, 3, HEIGHT, WIDTH)]
    free = heatmap_model(shape=("batch", 3, "height", "width"))
    assert input_shapes(write(tmp_path, free)) == [(None, 3, None, None)]


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (b"", "no ONNX network"),
        (b"PK\x03\x04 a zip file, not a network", "no ONNX network"),
        (heatmap_model()[:-40], "no ONNX network|OpenCV cannot run it|inputs of shape"),
        (heatmap_model(joints=19), "outputs of shape"),
        (heatmap_model(shape=(1, 1, HEIGHT, WIDTH)), "inputs of shape"),
        (heatmap_model(shape=(1, 3, 8, 8)), "8 x 8 pixels"),
        (b"\x3a\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff", "no ONNX network"),
    ],
    ids=["empty", "zip", "cut", "joints", "channels", "small", "endless"],
)
def test_other_files_are_named(tmp_path, data, says):
    with pytest.raises(InputError, match=says) as error:
        PoseNetwork(write(tmp_path, data, "mine.onnx"))
    assert "mine.onnx" in str(error.value)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(InputError, match=r"gone\.onnx"):
        PoseNetwork(tmp_path / "gone.onnx")
