"""Where certificates are prepared and signed: in threads of this process, or in processes of their own."""
