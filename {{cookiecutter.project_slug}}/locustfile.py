"""Load on a running service: users who read their account, and change it now and then.

    uvx "locust>=2.47,<3" --host http://127.0.0.1:8000

runs locust in an environment of its own, as what it brings along would change the service's. It
serves a page on http://127.0.0.1:8089 on which the number of users is chosen, and shows rates and
times. `--headless --users 50 --run-time 1m` needs no page, and ends with code 1 if a request has
failed. Each user is a new account, so never use it on a production database; more than fifty from
one address need a higher LOGIN_ATTEMPTS_PER_ADDRESS.
"""

import secrets

from locust import FastHttpUser, between

API = "/api/v1"


class User(FastHttpUser):  # type: ignore[misc]
    """A user who is logged in, and reads more often than writes."""

    wait_time = between(0.5, 1.5)

    def on_start(self) -> None:
        """Register and log in."""
        email, password = f"{secrets.token_hex(8)}@example.com", secrets.token_urlsafe(12)
        self.client.post(f"{API}/users", json={"email": email, "password": password})
        form = {"grant_type": "password", "username": email, "password": password}
        tokens = self.client.post(f"{API}/auth/token", data=form).json()
        self.headers = {"Authorization": f"Bearer {tokens['access_token']}"}

    def read_profile(self) -> None:
        """Read the account."""
        self.client.get(f"{API}/users/me", headers=self.headers)

    def list_sessions(self) -> None:
        """List the logins of the account."""
        self.client.get(f"{API}/auth/sessions", headers=self.headers)

    def update_profile(self) -> None:
        """Change the name of the account."""
        body = {"full_name": secrets.token_hex(8)}
        self.client.patch(f"{API}/users/me", json=body, headers=self.headers)

    # How often each is chosen.
    tasks = {read_profile: 5, list_sessions: 2, update_profile: 1}  # noqa: RUF012 - as locust wants it
