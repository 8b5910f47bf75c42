"""Whether a crossing is good enough for a gallery: what is measured, the gate's verdict, the report and its advice."""
