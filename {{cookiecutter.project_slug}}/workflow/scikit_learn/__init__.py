"""What tracks and finishes a training by scikit-learn, and writes its model as ONNX."""
