"""What tracks, resumes and finishes a training by Keras, and writes its model as ONNX."""
