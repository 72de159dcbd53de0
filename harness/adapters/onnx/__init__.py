"""ONNX models with a recurrent node: `adapt` takes a file or a ModelProto, `model` reads it, `run` runs it."""
