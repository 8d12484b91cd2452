"""What a run shall do: TOML, checked, with presets."""
