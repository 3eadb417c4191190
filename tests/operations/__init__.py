"""What an operator meets: listeners, the admin address, logs, the doctor, and the files of deploy/."""
