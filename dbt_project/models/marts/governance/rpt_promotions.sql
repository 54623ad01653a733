with

final as (

    select
        model_id,
        gate,
        champion_before,
        explanation,
        is_promoted,
        is_passed,
        cast(measured_value as double) as measured_value,
        cast(interval_low as double) as interval_low,
        cast(interval_high as double) as interval_high,
        cast(limit_value as double) as limit_value,
        cast(decision_number as bigint) as decision_number
    from {{ source('models', 'promotions') }}

)

select * from final
