"""Token datasets on the Hugging Face Hub: what is sent, and the card it is sent with."""
