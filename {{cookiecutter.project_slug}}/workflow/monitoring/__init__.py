"""What a served model is asked, against what it was trained on."""
