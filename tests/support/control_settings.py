"""Settings for a control application whose upstream is never called."""

from headgate.core.settings import Route, Server, Settings, Target, Upstream

OPENAI_SETTINGS = Settings(
    server=Server(default_upstream={"openai": "openai"}),
    upstreams={
        "openai": Upstream(
            name="openai",
            kind="openai",
            provider="openai",
            base_url="https://api.openai.com/v1",
            api_key_env="OPENAI_API_KEY",
        )
    },
    routes=(Route(model="gpt-*", targets=(Target(upstream="openai"),)),),
)
"""One upstream, and a route to it."""
