"""Pictures with words about them: what is known of them, and the formats in which they are written down."""
