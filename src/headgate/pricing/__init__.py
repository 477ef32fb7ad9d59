"""What a request cost: tokens as the provider counted them, or estimated, times dated prices; or a reason why not."""
