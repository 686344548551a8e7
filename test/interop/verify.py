"""Verifies access tokens as a service in Python would: PyJWT, keys by URL.

Reads {"jwks", "issuer", "algorithm", "tokens": [{"token", "audience"}]} from standard input and
writes, for each token, its claims or the name of the exception.
"""

import json
import sys

import jwt

asked = json.load(sys.stdin)
keys = jwt.PyJWKClient(asked["jwks"])


def verify(token, audience):
    try:
        return jwt.decode(
            token,
            keys.get_signing_key_from_jwt(token).key,
            algorithms=[asked["algorithm"]],
            audience=audience,
            issuer=asked["issuer"],
            options={"require": ["exp", "iat", "sub", "jti"]},
        )
    except jwt.PyJWTError as error:
        return type(error).__name__


json.dump([verify(one["token"], one["audience"]) for one in asked["tokens"]], sys.stdout)
