"""What a served model is asked, compared with what it was trained on."""
