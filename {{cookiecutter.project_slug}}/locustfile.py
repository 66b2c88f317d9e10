"""Load on a running service: people who read their items, and write one now and then.

    uvx "locust>=2.47,<3" --host http://127.0.0.1:8000

runs locust in an environment of its own, as what it brings along would change the service's. It
serves a page on http://127.0.0.1:8089 on which the number of people is chosen, and shows rates and
times. `--headless --users 50 --run-time 1m` needs no page, and ends with code 1 if a request has
failed. Each person is a new account, so never use it on a production database; more than fifty from
one address need a higher LOGIN_ATTEMPTS_PER_ADDRESS.
"""

import secrets

from locust import FastHttpUser, between

API = "/api/v1"


class Person(FastHttpUser):  # type: ignore[misc]
    """Somebody who is logged in, and reads more often than writes."""

    wait_time = between(0.5, 1.5)

    def on_start(self) -> None:
        """Register and log in; write the first item."""
        email, password = f"{secrets.token_hex(8)}@example.com", secrets.token_urlsafe(12)
        self.client.post(f"{API}/users", json={"email": email, "password": password})
        form = {"grant_type": "password", "username": email, "password": password}
        tokens = self.client.post(f"{API}/auth/token", data=form).json()
        self.headers = {"Authorization": f"Bearer {tokens['access_token']}"}
        self.write()

    def look_at_oneself(self) -> None:
        """Ask who is logged in."""
        self.client.get(f"{API}/users/me", headers=self.headers)

    def read(self) -> None:
        """Read a page of items, then one of them."""
        page = self.client.get(f"{API}/items?limit=20", headers=self.headers).json()
        item = secrets.choice(page["items"])
        path = f"{API}/items/{item['id']}"
        self.client.get(path, headers=self.headers, name=f"{API}/items/[id]")

    def write(self) -> None:
        """Write an item."""
        item = {"title": "Tea", "tags": ["green", "hot"]}
        self.client.post(f"{API}/items", json=item, headers=self.headers)

    # Of eight things that somebody does.
    tasks = {read: 5, look_at_oneself: 2, write: 1}  # noqa: RUF012 - as locust wants it
