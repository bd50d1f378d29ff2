"""Published annotation formats, one module each; `data.judgements.reading` picks."""
