/** The executable: hands argv to the CLI, nothing else. */
