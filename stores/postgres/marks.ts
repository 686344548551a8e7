/** How long a user's record says when the user was revoked, in milliseconds. */
export const REVOCATION_MARK_MS = 600_000
