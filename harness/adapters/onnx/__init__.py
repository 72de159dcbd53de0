"""ONNX models with recurrent nodes, whole: `adapt` takes a file or a ModelProto, `model` takes it apart, `operators` are ONNX's
definitions of its recurrent operators, `runtime` is the file as it is in onnxruntime, `subject` is all of it as a Subject."""
