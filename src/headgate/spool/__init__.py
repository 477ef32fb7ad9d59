"""The durable border between the planes: gateway workers append framed records, the control process reads them."""
