"""TensorFlow Lite networks, one thread each."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from pipeline.errors import InputError


class TfliteNetwork:
    """A network with one image input; outputs are found by their shape, since names say nothing.

    Args:
        path: the .tflite file.
        input_shape: what the input has to be.
        output_shapes: shapes of the outputs wanted, in the order in which ``run`` returns them.

    Raises:
        InputError: the file is missing, is no network, or is another network.
    """

    def __init__(self, path: Path, input_shape: tuple[int, ...], output_shapes: list[tuple[int, ...]]) -> None:
        from ai_edge_litert.interpreter import Interpreter

        if not Path(path).is_file():
            raise InputError(path, "there is no such model file", "Give the path of the .tflite file")
        try:
            self._net = Interpreter(model_content=Path(path).read_bytes(), num_threads=1)
            self._net.allocate_tensors()
        except (ValueError, RuntimeError) as error:
            raise InputError(path, f"not a TensorFlow Lite network ({error})", "Give the .tflite file") from error
        inputs, outputs = self._net.get_input_details(), self._net.get_output_details()
        shapes = [tuple(o["shape"]) for o in outputs]
        if [tuple(i["shape"]) for i in inputs] != [input_shape] or any(s not in shapes for s in output_shapes):
            raise InputError(
                path, f"another network: it gives {shapes}, wanted are {output_shapes}", "Give the BlazePose file"
            )
        self._input = inputs[0]["index"]
        self._outputs = [outputs[shapes.index(s)]["index"] for s in output_shapes]

    def run(self, batch: np.ndarray) -> list[np.ndarray]:
        """Outputs for one input, in the order of ``output_shapes``."""
        self._net.set_tensor(self._input, batch)
        self._net.invoke()
        return [self._net.get_tensor(i) for i in self._outputs]
