"""The DICOM Upper Layer (PS3.8): connections, their state machine, negotiation and admission."""
